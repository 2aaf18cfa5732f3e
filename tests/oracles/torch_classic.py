"""The cases of ``classic_cases`` in PyTorch: torchvision's and timm's own classes, made narrow, and, where
neither has the net, restatements written from the papers. Import only where torch is installed."""

import functools
import importlib
from collections import OrderedDict
from typing import Any

import numpy as np
import timm
import torch
import torch.nn.functional as F
from oracles.classic_cases import CASES, CLASSES, images_of
from oracles.network_cases import NARROW, VGG11, seeded_state_dict
from oracles.torch_networks import vgg_features
from oracles.torch_run import channels_last, model_outputs
from timm.layers import ConvNormAct
from timm.models import cspnet, xception_aligned
from torch import nn
from torchvision.models import get_model, inception

# Their packages have functions of these names.
googlenet = importlib.import_module("torchvision.models.googlenet")
xception = importlib.import_module("timm.models.xception")


class NIN(nn.Sequential):
    """The authors' Caffe models, layer by layer, by their names; widths are divided by ``divide``."""

    IMAGENET = """conv1 96 11/4 0; cccp1 96; cccp2 96; max; conv2 256 5/1 2; cccp3 256; cccp4 256; max;
        conv3 384 3/1 1; cccp5 384; cccp6 384; max; conv4-1024 1024 3/1 1; cccp7-1024 1024; cccp8-1024 K"""
    CIFAR10 = """conv1 192 5/1 2; cccp1 160; cccp2 96; max; conv2 192 5/1 2; cccp3 192; cccp4 192; mean;
        conv3 192 3/1 1; cccp5 192; cccp6 K"""

    def __init__(self, text, num_classes, *, divide=1):
        layers, channels = OrderedDict(), 3
        for step in text.split(";"):
            name, *numbers = step.split()
            if not numbers:
                pool = {"max": nn.MaxPool2d, "mean": nn.AvgPool2d}[name]
                layers[f"pool{len(layers)}"] = pool(3, 2, ceil_mode=True)
                continue
            width = num_classes if numbers[0] == "K" else int(numbers[0]) // divide
            size, stride = map(int, numbers[1].split("/")) if numbers[1:] else (1, 1)
            padding = int(numbers[2]) if numbers[1:] else 0
            layers[name] = nn.Conv2d(channels, width, size, stride, padding)
            layers[f"relu_{name}"] = nn.ReLU()
            channels = width
        super().__init__(layers)

    def forward(self, x):
        return super().forward(x).mean((2, 3))


class Darknet19(nn.Module):
    """YOLO9000's table 6, row by row: filters and window of each convolution, "M" for a max pooling.

    Names follow the stages, as timm names those of Darknet-53.
    """

    ROWS = "32/3 M 64/3 M 128/3 64/1 128/3 M 256/3 128/1 256/3 M 512/3 256/1 512/3 256/1 512/3 M"
    ROWS += " 1024/3 512/1 1024/3 512/1 1024/3"

    def __init__(self, num_classes=1000, *, widths=None, stem=32):
        super().__init__()
        table = {64: 64, 128: 128, 256: 256, 512: 512, 1024: 1024}
        if widths:
            table = dict(zip(table, widths, strict=True))
        stages = [[row.split("/") for row in part.split()] for part in self.ROWS.split("M")]
        self.stem = nn.ModuleDict({"conv1": self._unit(3, stem, 3)})
        self.stages, channels = nn.ModuleList(), stem
        for rows in stages[1:]:
            width = table[int(rows[0][0])]
            stage = nn.ModuleDict({"conv_down": self._unit(channels, width, 3), "blocks": nn.ModuleList()})
            for index in range(1, len(rows), 2):
                sizes = int(rows[index][1]), int(rows[index + 1][1])
                assert sizes == (1, 3)
                assert int(rows[index][0]) * 2 == int(rows[index + 1][0]) == int(rows[0][0])
                first, second = self._unit(width, width // 2, 1), self._unit(width // 2, width, 3)
                stage["blocks"].append(nn.Sequential(OrderedDict(conv1=first, conv2=second)))
            self.stages.append(stage)
            channels = width
        self.head = nn.ModuleDict({"fc": nn.Linear(channels, num_classes)})

    def _unit(self, inputs, outputs, size):
        return nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False),
                bn=nn.BatchNorm2d(outputs),
                act=nn.LeakyReLU(0.1),
            )
        )

    def forward(self, x):
        x = self.stem["conv1"](x)
        for stage in self.stages:
            x = stage["conv_down"](F.max_pool2d(x, 2))
            for block in stage["blocks"]:
                x = block(x)
        # The table's order: a 1x1 convolution to the classes, then the average.
        last = self.head["fc"]
        return F.conv2d(x, last.weight[:, :, None, None], last.bias).mean((2, 3))


class SPP(nn.Module):
    """A pyramid of adaptive max poolings on VGG's last map; each is laid out with its channels last."""

    def __init__(self, features, channels, hidden, num_classes):
        super().__init__()
        self.features = features
        self.pools = [nn.AdaptiveMaxPool2d(level) for level in (1, 2, 3, 6)]
        self.fc6, self.fc7 = nn.Linear(50 * channels, hidden), nn.Linear(hidden, hidden)
        self.head = nn.Linear(hidden, num_classes)

    def forward(self, images):
        x = self.features(images)
        x = torch.cat([pool(x).permute(0, 2, 3, 1).flatten(1) for pool in self.pools], 1)
        return self.head(F.relu(self.fc7(F.relu(self.fc6(x)))))


class ConvReLU(nn.Module):
    """What torchvision's ``BasicConv2d`` is without a normalisation."""

    def __init__(self, inputs, outputs, **options):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, **options)

    def forward(self, x):
        return F.relu(self.conv(x))


def _narrowed(conv, divide):
    """A convolution block of torchvision's for widths divided by a number, but for those of the image."""
    return lambda inputs, outputs, **options: conv(
        inputs if inputs == 3 else inputs // divide, outputs // divide, **options
    )


def googlenet_model(*, divide=1, num_classes=1000, paper=False, aux=False):
    conv = ConvReLU if paper else googlenet.BasicConv2d

    def block(inputs, *widths):
        made = googlenet.Inception(inputs // divide, *(width // divide for width in widths), conv_block=conv)
        if paper:
            made.branch3[1] = conv(widths[3] // divide, widths[4] // divide, kernel_size=5, padding=2)
        return made

    def head(inputs, classes, *, dropout):
        made = googlenet.InceptionAux(inputs // divide, classes, conv, dropout)
        if divide > 1:
            made.conv = conv(inputs // divide, 8, kernel_size=1)
            made.fc1, made.fc2 = nn.Linear(128, 10), nn.Linear(10, classes)
        return made

    kind = GoogLeNetSideBySide if aux else googlenet.GoogLeNet
    model = kind(
        num_classes, aux, False, False, [_narrowed(conv, divide), block, head], dropout=0.0, dropout_aux=0.0
    )
    model.fc = nn.Linear(1024 // divide, num_classes)
    if paper:
        norm = nn.LocalResponseNorm(5)
        model.maxpool1, model.maxpool2 = (
            nn.Sequential(model.maxpool1, norm),
            nn.Sequential(norm, model.maxpool2),
        )
        model.maxpool4 = nn.MaxPool2d(3, 2, ceil_mode=True)
    return model


class GoogLeNetSideBySide(googlenet.GoogLeNet):
    """Main and auxiliary logits side by side, as ``classic_cases.SideBySide``."""

    def forward(self, x):
        out = super().forward(x)
        return torch.cat([out.logits, out.aux_logits1, out.aux_logits2] if self.training else [out] * 3, 1)


class InceptionSideBySide(inception.Inception3):
    """Main and auxiliary logits side by side, as ``classic_cases.SideBySide``."""

    def forward(self, x):
        out = super().forward(x)
        return torch.cat([out.logits, out.aux_logits] if self.training else [out] * 2, 1)


def inception_model(*, divide=1, num_classes=1000, aux=False):
    conv = _narrowed(inception.BasicConv2d, divide)

    def narrow(block):
        return functools.partial(block, conv_block=conv)

    names = ("InceptionA", "InceptionB", "InceptionC", "InceptionD", "InceptionE", "InceptionAux")
    blocks = [conv, *(narrow(getattr(inception, name)) for name in names)]
    kind = InceptionSideBySide if aux else inception.Inception3
    model = kind(num_classes, aux, False, blocks, init_weights=False, dropout=0.0)
    model.fc = nn.Linear(2048 // divide, num_classes)
    if aux:
        model.AuxLogits.fc = nn.Linear(768 // divide, num_classes)
    return model


def xception_model():
    """timm's, with all of its layers replaced by narrow ones and seven of its blocks left out."""
    model = xception.Xception(CLASSES)
    model.conv1, model.bn1 = nn.Conv2d(3, 4, 3, 2, 0, bias=False), nn.BatchNorm2d(4)
    model.conv2, model.bn2 = nn.Conv2d(4, 6, 3, bias=False), nn.BatchNorm2d(6)
    model.block1 = xception.Block(6, 8, 2, 2, start_with_relu=False)
    model.block2, model.block3 = xception.Block(8, 10, 2, 2), xception.Block(10, 12, 2, 2)
    model.block4 = xception.Block(12, 12, 3, 1)
    model.block5 = xception.Block(12, 14, 2, 2, grow_first=False)
    for index in range(6, 13):
        setattr(model, f"block{index}", nn.Identity())
    model.conv3, model.bn3 = xception.SeparableConv2d(14, 16, 3, 1, 1), nn.BatchNorm2d(16)
    model.conv4, model.bn4 = xception.SeparableConv2d(16, 18, 3, 1, 1), nn.BatchNorm2d(18)
    model.fc = nn.Linear(18, CLASSES)
    return model


def aligned_model(**options):
    blocks = [(6, 8, 2), (8, 8, 1), (8, 10, 2), (10, 12, 2), (12, 12, 1), (12, (12, 14, 16), 2)]
    blocks = [{"in_chs": inputs, "out_chs": outputs, "stride": stride} for inputs, outputs, stride in blocks]
    last = {"in_chs": 16, "out_chs": (18, 16, 20), "stride": 1, "no_skip": True, "start_with_relu": False}
    norm = functools.partial(nn.BatchNorm2d, eps=1e-3)
    model = xception_aligned.XceptionAligned([*blocks, last], CLASSES, norm_layer=norm, **options)
    stem = functools.partial(ConvNormAct, norm_layer=norm, act_layer=nn.ReLU)
    model.stem = nn.Sequential(stem(3, 4, 3, stride=2), stem(4, 6, 3))
    return model


def darknet53_model():
    config = cspnet.model_cfgs["darknet53"]
    stem = cspnet.CspStemCfg(**{**vars(config.stem), "out_chs": 4})
    stages = {**vars(config.stages), "depth": (1, 1, 1, 1, 2), "out_chs": (4, 6, 8, 8, 10)}
    return cspnet.CspNet(
        cspnet.CspModelCfg(stem=stem, stages=cspnet.CspStagesCfg(**stages)), num_classes=CLASSES
    )


NETWORKS = {
    "nin": lambda: NIN(NIN.IMAGENET, CLASSES, divide=32),
    "nin_cifar10": lambda: NIN(NIN.CIFAR10, CLASSES, divide=32),
    "googlenet": lambda: googlenet_model(divide=16, num_classes=CLASSES),
    "googlenet_paper": lambda: googlenet_model(divide=16, num_classes=CLASSES, paper=True),
    "googlenet_aux": lambda: googlenet_model(divide=16, num_classes=CLASSES, aux=True),
    "inception_v3": lambda: inception_model(divide=32, num_classes=CLASSES),
    "inception_v3_aux": lambda: inception_model(divide=32, num_classes=CLASSES, aux=True),
    "xception": xception_model,
    "aligned_xception": aligned_model,
    "aligned_xception_dilated": lambda: aligned_model(output_stride=8),
    "darknet19": lambda: Darknet19(CLASSES, widths=(4, 6, 8, 8, 10), stem=4),
    "darknet53": darknet53_model,
    "spp": lambda: SPP(vgg_features(VGG11, NARROW), NARROW[-1], 10, CLASSES),
    "spp_other_size": lambda: SPP(vgg_features(VGG11, NARROW), NARROW[-1], 10, CLASSES),
}


def classic_outputs(name: str) -> dict[str, Any]:
    """What ``classic_cases.check_classic`` compares with."""
    return model_outputs(NETWORKS[name](), images_of(CASES[name]))


def full_size_outputs(model: nn.Module, images: np.ndarray, taps: dict[str, str]) -> dict[str, Any]:
    """What ``classic_cases.check_full_size`` compares with: logits, and outputs of submodules by name.

    Args:
      model: a network whose weights are then seeded.
      images: ``[N, H, W, C]``.
      taps: ``{"c1": name of the submodule, ...}``.
    """
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    weights = seeded_state_dict(shapes)
    model.load_state_dict({key: torch.from_numpy(np.asarray(value)) for key, value in weights.items()})
    outputs: dict[str, Any] = {"shapes": shapes}
    for name, path in taps.items():
        # Cloned, for what follows may change it in place.
        model.get_submodule(path).register_forward_hook(
            lambda module, inputs, output, name=name: outputs.update({name: output.clone()})
        )
    with torch.no_grad():
        inputs = torch.from_numpy(images).double().permute(0, 3, 1, 2).contiguous()
        outputs["logits"] = model.eval().double()(inputs)
    return {name: value if name == "shapes" else channels_last(value) for name, value in outputs.items()}


def published(name: str) -> nn.Module:
    """torchvision's or timm's network as they build it, its auxiliary heads included."""
    if name in ("googlenet", "inception_v3"):
        return get_model(name, weights=None, init_weights=False)
    return timm.create_model(name)
