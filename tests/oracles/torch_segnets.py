"""The cases of ``segnets_cases`` in PyTorch: restatements from the papers, and the decoders of
segmentation_models.pytorch on narrow ResNets. Import only where both are installed."""

from typing import Any

import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from oracles.network_cases import NARROW, VGG11
from oracles.segnets_cases import BRANCHES, CASES, CLASSES, DECODER, DILATED, RESNET, images_of
from oracles.torch_networks import narrow_resnet, vgg_features
from oracles.torch_run import model_outputs
from segmentation_models_pytorch.base import SegmentationHead
from segmentation_models_pytorch.base.modules import SCSEModule
from segmentation_models_pytorch.decoders.linknet.decoder import LinknetDecoder
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from segmentation_models_pytorch.decoders.unetplusplus.decoder import UnetPlusPlusDecoder
from torch import nn


def padded_to(images, multiple, least=1):
    """Zeros at the bottom and right, up to the next multiple."""
    height, width = (max(-(-size // multiple) * multiple, least) for size in images.shape[2:])
    return F.pad(images, (0, width - images.shape[3], 0, height - images.shape[2]))


class Unit(nn.Module):
    """Convolution, batch normalisation and perhaps ReLU."""

    def __init__(self, conv, width, *, relu=True):
        super().__init__()
        self.conv, self.norm, self.relu = conv, nn.BatchNorm2d(width), relu

    def forward(self, x):
        x = self.norm(self.conv(x))
        return F.relu(x) if self.relu else x


def plain(inputs, outputs, window, **options):
    return Unit(nn.Conv2d(inputs, outputs, window, padding=window // 2, bias=False), outputs, **options)


def transposed(inputs, outputs, window, padding):
    return Unit(nn.ConvTranspose2d(inputs, outputs, window, padding=padding, bias=False), outputs)


class Unpooling(nn.Module):
    """What SegNet and DeconvNet share: a VGG that remembers, and stages behind an unpooling each."""

    def __init__(self, convolutions, widths, make, *, to_scores):
        super().__init__()
        self.features = vgg_features(convolutions, widths, use_norm=True)
        self.order = []
        for stage in range(len(widths), 0, -1):
            names, channels = [], widths[stage - 1]
            for layer in range(1, convolutions[stage - 1] + 1):
                is_last = layer == convolutions[stage - 1]
                if is_last and stage == 1 and to_scores:
                    break
                outputs = widths[max(stage - 2, 0)] if is_last else channels
                names.append(f"decoder{stage}_layer{layer}")
                self.add_module(names[-1], make(channels, outputs))
                channels = outputs
            self.order.append(names)

    def encode(self, x):
        places = []
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                x, indices = F.max_pool2d(x, 2, return_indices=True)
                places.append(indices)
            else:
                x = layer(x)
        return x, places

    def decode(self, x, places):
        for names in self.order:
            x = F.max_unpool2d(x, places.pop(), 2)
            for name in names:
                x = self.get_submodule(name)(x)
        return x


class SegNet(Unpooling):
    """Badrinarayanan et al. 2017, figure 3; the mirror image's last convolution scores."""

    def __init__(self, convolutions, widths, num_classes):
        super().__init__(convolutions, widths, lambda a, b: plain(a, b, 3), to_scores=True)
        self.head = nn.Conv2d(widths[0], num_classes, 3, padding=1)

    def forward(self, images):
        x, places = self.encode(padded_to(images, 32))
        return self.head(self.decode(x, places))[:, :, : images.shape[2], : images.shape[3]]


class DeconvNet(Unpooling):
    """Noh et al. 2015, table 2."""

    def __init__(self, convolutions, widths, num_classes, *, hidden=4096, window=7):
        super().__init__(convolutions, widths, lambda a, b: transposed(a, b, 3, 1), to_scores=False)
        self.window = window
        self.fc6, self.fc6_norm = nn.Conv2d(widths[-1], hidden, window), nn.BatchNorm2d(hidden)
        self.fc7, self.fc7_norm = nn.Conv2d(hidden, hidden, 1), nn.BatchNorm2d(hidden)
        self.decoder_fc6 = transposed(hidden, widths[-1], window, 0)
        self.head = nn.Conv2d(widths[0], num_classes, 1)

    def forward(self, images):
        x, places = self.encode(padded_to(images, 32, 32 * self.window))
        x = F.relu(self.fc6_norm(self.fc6(x)))
        x = F.relu(self.fc7_norm(self.fc7(x)))
        x = self.decode(self.decoder_fc6(x), places)
        return self.head(x)[:, :, : images.shape[2], : images.shape[3]]


class SegNetBasic(nn.Module):
    """Section 3.1 and the authors' Caffe model: four encoders, four decoders, 7x7 windows."""

    def __init__(self, num_classes, widths=(64, 64, 64, 64), *, window=7, use_lrn=False):
        super().__init__()
        self.depth, self.use_lrn = len(widths), use_lrn
        for level, width in enumerate(widths, start=1):
            before = 3 if level == 1 else widths[level - 2]
            self.add_module(f"encoder{level}", plain(before, width, window))
            self.add_module(f"decoder{level}", plain(width, widths[max(level - 2, 0)], window, relu=False))
        self.head = nn.Conv2d(widths[0], num_classes, 1)

    def forward(self, images):
        x, places = padded_to(images, 2**self.depth), []
        if self.use_lrn:
            x = F.local_response_norm(x, 5, alpha=1e-4, beta=0.75)
        for level in range(1, self.depth + 1):
            x, indices = F.max_pool2d(self.get_submodule(f"encoder{level}")(x), 2, return_indices=True)
            places.append(indices)
        for level in range(self.depth, 0, -1):
            x = self.get_submodule(f"decoder{level}")(F.max_unpool2d(x, places.pop(), 2))
        return self.head(x)[:, :, : images.shape[2], : images.shape[3]]


class Smp(nn.Module):
    """A decoder of segmentation_models.pytorch on a narrow ResNet, named as its models are."""

    def __init__(self, fields, make_decoder, outputs, *, window=3, multiple=1, classes=CLASSES):
        super().__init__()
        fields = dict(fields)
        self.encoder = narrow_resnet(num_classes=1, **fields)
        del self.encoder.fc
        self.decoder = make_decoder([3, fields["stem_features"], *fields["features"]])
        self.segmentation_head = SegmentationHead(outputs, classes, kernel_size=window)
        self.multiple = multiple

    def encode(self, x):
        body, maps = self.encoder, [x]
        maps.append(body.relu(body.bn1(body.conv1(x))))
        x = body.maxpool(maps[-1])
        for layer in (body.layer1, body.layer2, body.layer3, body.layer4):
            x = layer(x)
            maps.append(x)
        return maps

    def forward(self, images):
        x = self.segmentation_head(self.decoder(self.encode(padded_to(images, self.multiple))))
        return x[:, :, : images.shape[2], : images.shape[3]]


class SupervisedSmp(Smp):
    """UNet++ whose finest nodes are scored too (Zhou et al. 2018, section 3.2)."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options, classes=1)
        for number in range(1, BRANCHES + 1):
            self.add_module(f"aux_head{number}", nn.Conv2d(self.encoder.conv1.out_channels, 1, 1))

    def forward(self, images):
        nodes = {}
        hooks = [
            self.decoder.blocks[f"x_{depth}_3"].register_forward_hook(
                lambda _module, _inputs, value, depth=depth: nodes.__setitem__(depth, value)
            )
            for depth in (3, 2, 1)
        ]
        main = super().forward(images)
        for hook in hooks:
            hook.remove()
        sides = [self.get_submodule(f"aux_head{number}")(nodes[4 - number]) for number in (1, 2, 3)]
        sides = [F.interpolate(side, images.shape[2:], mode="bilinear") for side in sides]
        if not self.training:
            main = torch.stack([main, *sides]).mean(0)
        return torch.cat([main, *sides], 1)


def with_scse(decoder):
    """Attention in every place where it is run, of a reduction that suits narrow maps."""
    for block in decoder.blocks:
        inputs, outputs = block.conv1[0].in_channels, block.conv1[0].out_channels
        if block is not decoder.blocks[-1]:
            block.attention1.attention = SCSEModule(inputs, reduction=2)
        block.attention2.attention = SCSEModule(outputs, reduction=2)
    return decoder


def _unet(fields, finish=lambda decoder: decoder, **options):
    return Smp(fields, lambda widths: finish(UnetDecoder(widths, DECODER, **options)), DECODER[-1])


def torch_model(name: str) -> nn.Module:
    makers = {
        "segnet": lambda: SegNet(VGG11, NARROW, CLASSES),
        "segnet_basic": lambda: SegNetBasic(CLASSES, (4, 5, 6, 7)),
        "segnet_basic_lrn": lambda: SegNetBasic(CLASSES, (4, 5), window=5, use_lrn=True),
        "deconvnet": lambda: DeconvNet(VGG11, NARROW, 1, hidden=10, window=2),
        "unet_resnet": lambda: _unet(RESNET),
        "unet_dilated": lambda: _unet(DILATED),
        "unet_scse": lambda: _unet(RESNET, with_scse),
        "unet_bare": lambda: _unet(RESNET, use_norm=False),
        "linknet_resnet": lambda: Smp(
            RESNET, lambda widths: LinknetDecoder(widths, 6), 6, window=1, multiple=32
        ),
        "unetplusplus_resnet": lambda: Smp(
            RESNET, lambda widths: UnetPlusPlusDecoder(widths, DECODER), DECODER[-1]
        ),
        "unetplusplus_supervised": lambda: SupervisedSmp(
            RESNET, lambda widths: UnetPlusPlusDecoder(widths, DECODER), DECODER[-1]
        ),
    }
    return makers[name]()


def segnet_outputs(name: str) -> dict[str, Any]:
    return model_outputs(torch_model(name), images_of(CASES[name]))


def whole_model(name: str, num_classes: int) -> nn.Module:
    """The network of one of our names, such as ``"segnet"`` or ``"unet_resnet34"``, at full size."""
    vgg16 = (2, 2, 3, 3, 3), (64, 128, 256, 512, 512)
    restated = {
        "segnet": lambda: SegNet(*vgg16, num_classes),
        "segnet_basic": lambda: SegNetBasic(num_classes),
        "deconvnet": lambda: DeconvNet(*vgg16, num_classes),
    }
    if name in restated:
        return restated[name]()
    kind, encoder = name.split("_", 1)
    make = {"unet": smp.Unet, "linknet": smp.Linknet, "unetplusplus": smp.UnetPlusPlus}[kind]
    return make(encoder, encoder_weights=None, classes=num_classes)
