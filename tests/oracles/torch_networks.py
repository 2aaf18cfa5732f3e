"""PyTorch restatements of the networks, written from the papers, with layers named plainly.

Import only where torch is installed. Modules take ``[N, C, H, W]``.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.models.vgg import VGG, make_layers


def vgg_features(convolutions, features, *, use_norm=False):
    """torchvision's own builder, for any widths."""
    layers = []
    for count, width in zip(convolutions, features, strict=True):
        layers += [width] * count + ["M"]
    return make_layers(layers, batch_norm=use_norm)


def vgg_classifier(convolutions, features, *, use_norm=False, hidden=4096, num_classes=1000, dropout=0.5):
    """torchvision's VGG with a head of any width."""
    model = VGG(vgg_features(convolutions, features, use_norm=use_norm), init_weights=False)
    model.classifier = nn.Sequential(
        nn.Linear(features[-1] * 49, hidden), nn.ReLU(), nn.Dropout(dropout),
        nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout),
        nn.Linear(hidden, num_classes),
    )  # fmt: skip
    return model


class NarrowResNet(ResNet):
    """torchvision's ResNet, whose own widths are fixed, for any widths: its stages and its forward pass."""

    def __init__(self, block, blocks, planes, num_classes, *, stem, dilate):
        nn.Module.__init__(self)
        self._norm_layer, self.inplanes, self.dilation = nn.BatchNorm2d, stem, 1
        self.groups, self.base_width = 1, 64
        self.conv1 = nn.Conv2d(3, stem, 7, stride=2, padding=3, bias=False)
        self.bn1, self.relu, self.maxpool = nn.BatchNorm2d(stem), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        for stage, (count, width) in enumerate(zip(blocks, planes, strict=True), start=1):
            stride, dilated = (1, False) if stage == 1 else (2, dilate[stage - 2])
            setattr(self, f"layer{stage}", self._make_layer(block, width, count, stride, dilated))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(planes[-1] * block.expansion, num_classes)


def narrow_resnet(*, block, blocks, features, stem_features, num_classes, output_stride=32):
    """From the fields of ``jaxvision.backbones.ResNet``."""
    theirs = {"BasicBlock": BasicBlock, "Bottleneck": Bottleneck}[block.__name__]
    planes = [width // theirs.expansion for width in features]
    dilate = {32: (False, False, False), 16: (False, False, True), 8: (False, True, True)}[output_stride]
    return NarrowResNet(theirs, blocks, planes, num_classes, stem=stem_features, dilate=dilate)


def bilinear_filter(size):
    """Caffe's bilinear filler, as its source states it."""
    factor = -(-size // 2)
    center = (2 * factor - 1 - factor % 2) / (2.0 * factor)
    taps = [1 - abs(i / factor - center) for i in range(size)]
    return torch.tensor([[a * b for b in taps] for a in taps])


class FCN(nn.Module):
    """FCN-32s/16s/8s: image padded to a multiple of 32, fc6 padded by 3, fixed final upsampling."""

    def __init__(self, features, widths, num_classes, *, stride, hidden=4096, dropout=0.5):
        super().__init__()
        self.features, self.stride, self.num_classes = features, stride, num_classes
        self.fc6 = nn.Conv2d(widths[4], hidden, 7, padding=3)
        self.fc7 = nn.Conv2d(hidden, hidden, 1)
        self.drop = nn.Dropout(dropout)
        self.score_fc7 = nn.Conv2d(hidden, num_classes, 1)
        if stride <= 16:
            self.score_pool4 = nn.Conv2d(widths[3], num_classes, 1)
            self.upsample_fc7 = nn.ConvTranspose2d(num_classes, num_classes, 4, 2, 1, bias=False)
        if stride == 8:
            self.score_pool3 = nn.Conv2d(widths[2], num_classes, 1)
            self.upsample_pool4 = nn.ConvTranspose2d(num_classes, num_classes, 4, 2, 1, bias=False)
        kernel = bilinear_filter(2 * stride).expand(num_classes, 1, -1, -1)
        self.register_buffer("final", kernel.contiguous(), persistent=False)

    def forward(self, images):
        height, width = images.shape[2:]
        x = F.pad(images, (0, -width % 32, 0, -height % 32))
        pools = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                pools.append(x)
        x = self.drop(F.relu(self.fc6(x)))
        x = self.drop(F.relu(self.fc7(x)))
        x = self.score_fc7(x)
        if self.stride <= 16:
            x = self.upsample_fc7(x) + self.score_pool4(pools[3])
        if self.stride == 8:
            x = self.upsample_pool4(x) + self.score_pool3(pools[2])
        x = F.conv_transpose2d(
            x, self.final, stride=self.stride, padding=self.stride // 2, groups=self.num_classes
        )
        return x[:, :, :height, :width]


class DoubleConv(nn.Module):
    """Two 3x3 convolutions with ReLU, and batch normalisation if asked."""

    def __init__(self, inputs, outputs, *, padding, use_norm):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=padding, bias=not use_norm)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=padding, bias=not use_norm)
        self.norm1 = nn.BatchNorm2d(outputs) if use_norm else nn.Identity()
        self.norm2 = nn.BatchNorm2d(outputs) if use_norm else nn.Identity()

    def forward(self, x):
        x = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(x)))


class UNet(nn.Module):
    """U-Net with the paper's unpadded convolutions, or with padded ones on an image padded to fit."""

    def __init__(self, inputs, num_classes, features, *, padding="same", use_norm=False, dropout=0.5):
        super().__init__()
        self.same = padding == "same"
        options = {"padding": 1 if self.same else 0, "use_norm": use_norm}
        widths = [inputs, *features]
        self.encoders = nn.ModuleList(DoubleConv(a, b, **options) for a, b in itertools.pairwise(widths))
        pairs = list(itertools.pairwise(features))
        self.ups = nn.ModuleList(nn.ConvTranspose2d(deep, top, 2, 2) for top, deep in pairs)
        self.decoders = nn.ModuleList(DoubleConv(2 * top, top, **options) for top, _ in pairs)
        self.head = nn.Conv2d(features[0], num_classes, 1)
        self.drop = nn.Dropout(dropout)

    def forward(self, images):
        height, width = images.shape[2:]
        x = images
        if self.same:
            multiple = 2 ** len(self.ups)
            x = F.pad(x, (0, -width % multiple, 0, -height % multiple))
        skips = []
        for encoder in self.encoders[:-1]:
            x = encoder(x)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = self.drop(self.encoders[-1](x))
        for up, decoder, skip in reversed(list(zip(self.ups, self.decoders, skips, strict=True))):
            x = up(x)
            cut = (skip.shape[2] - x.shape[2]) // 2, (skip.shape[3] - x.shape[3]) // 2
            skip = skip[:, :, cut[0] : cut[0] + x.shape[2], cut[1] : cut[1] + x.shape[3]]
            x = decoder(torch.cat([skip, x], dim=1))
        x = self.head(x)
        return x[:, :, :height, :width] if self.same else x
