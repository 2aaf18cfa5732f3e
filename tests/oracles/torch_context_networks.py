"""The cases of ``context_cases`` in PyTorch. Import only where torch, torchvision and
segmentation_models.pytorch are installed: the modules are theirs, made narrow, or restate the papers."""

import importlib
import unittest.mock
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from oracles.context_cases import BASICS, BOTTLENECKS, CASES, CLASSES, MOBILE, images_of
from oracles.network_cases import seeded_state_dict
from oracles.torch_networks import NarrowResNet, narrow_resnet
from oracles.torch_run import channels_last, model_outputs
from segmentation_models_pytorch.base import SegmentationHead
from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3Decoder, DeepLabV3PlusDecoder
from segmentation_models_pytorch.decoders.fpn.decoder import FPNDecoder
from segmentation_models_pytorch.decoders.pspnet.decoder import PSPDecoder
from segmentation_models_pytorch.encoders._base import EncoderMixin
from segmentation_models_pytorch.encoders.resnet import ResNetEncoder
from torch import nn
from torch.nn import GroupNorm
from torchvision.models import mobilenetv3
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.resnet import BasicBlock

# torchvision exports functions of these names.
deeplabv3, fcn, lraspp = (
    importlib.import_module(f"torchvision.models.segmentation.{name}")
    for name in ("deeplabv3", "fcn", "lraspp")
)
WIDTHS = [3, BASICS["stem_features"], *BASICS["features"]]


def _resnet_features(output_stride: int, *levels: str) -> nn.Module:
    body = narrow_resnet(**BOTTLENECKS, num_classes=1, output_stride=output_stride)
    places = {"c2": "layer1", "c4": "layer3", "c5": "layer4"}
    return IntermediateLayerGetter(body, {places[level]: level for level in levels})


def _torchvision_features() -> nn.Module:
    body = _resnet_features(8, "c4", "c5")
    body.return_layers = {"layer4": "out", "layer3": "aux"}
    return body


def _mobile() -> nn.Module:
    inputs, settings = 16, []
    rows = [row for stage in MOBILE for row in stage]
    for index, (kernel, hidden, features, squeeze, swish, stride) in enumerate(rows):
        dilation = 2 if index >= len(rows) - len(MOBILE[-1]) else 1
        settings.append(
            mobilenetv3.InvertedResidualConfig(
                inputs, kernel, hidden, features, squeeze, "HS" if swish else "RE", stride, dilation, 1.0
            )
        )
        inputs = features
    return mobilenetv3.MobileNetV3(settings, 32, 1)


def _deeplab_head(inputs: int) -> nn.Module:
    aspp = deeplabv3.ASPP(inputs, (2, 3, 5), 6)
    return nn.Sequential(
        aspp,
        nn.Conv2d(6, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, CLASSES, 1),
    )


def _deeplab_mobile() -> nn.Module:
    model = deeplabv3._deeplabv3_mobilenetv3(_mobile(), CLASSES, True)
    model.classifier = _deeplab_head(6 * MOBILE[-1][-1][2])
    return model


def _lraspp() -> nn.Module:
    model = lraspp._lraspp_mobilenetv3(_mobile(), CLASSES)
    model.classifier = lraspp.LRASPPHead(MOBILE[2][0][2], 6 * MOBILE[-1][-1][2], CLASSES, 6)
    return model


class NarrowEncoder(NarrowResNet, EncoderMixin):
    """smp's ResNet encoder, whose own widths are fixed."""

    get_stages, forward = ResNetEncoder.get_stages, ResNetEncoder.forward

    def __init__(self, features: list[int], *, depth: int = 5) -> None:
        stem, dilate = BASICS["stem_features"], (False,) * 3
        super().__init__(BasicBlock, BASICS["blocks"], features, 1, stem=stem, dilate=dilate)
        del self.fc, self.avgpool
        self._depth, self._output_stride = depth, 32


class SmpNetwork(nn.Module):
    """Encoder, decoder and head, as smp's ``SegmentationModel`` runs them."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder, self.segmentation_head = encoder, decoder, head

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.segmentation_head(self.decoder(self.encoder(images)))


def _dilated_encoder(output_stride: int) -> nn.Module:
    encoder = NarrowEncoder(BASICS["features"])
    encoder.make_dilated(output_stride)
    return encoder


def _smp_deeplabv3() -> nn.Module:
    decoder = DeepLabV3Decoder(WIDTHS[-1], 6, (2, 3, 5), False, 0.0)
    return SmpNetwork(_dilated_encoder(8), decoder, SegmentationHead(6, CLASSES, 1, upsampling=8))


def _smp_deeplabv3plus() -> nn.Module:
    decoder = DeepLabV3PlusDecoder(WIDTHS, 5, 6, (2, 3, 5), 16, True, 0.0)
    return SmpNetwork(_dilated_encoder(16), decoder, SegmentationHead(6, CLASSES, 1, upsampling=4))


def _smp_pspnet() -> nn.Module:
    # The widths of the stages behind its depth, which it has and does not run, are any.
    encoder = NarrowEncoder([4, 8, 2, 2], depth=3)
    encoder.layer3 = encoder.layer4 = nn.Identity()
    decoder = PSPDecoder([3, BASICS["stem_features"], 4, 8], "batchnorm", 6, 0.0)
    return SmpNetwork(encoder, decoder, SegmentationHead(6, CLASSES, 3, upsampling=8))


def _smp_fpn(policy: str) -> nn.Module:
    # Its 32 groups are for wider maps.
    with unittest.mock.patch.object(nn, "GroupNorm", lambda _, channels: GroupNorm(4, channels)):
        decoder = FPNDecoder(WIDTHS, 5, 8, 8, 0.0, policy)
    return SmpNetwork(
        NarrowEncoder(BASICS["features"]),
        decoder,
        SegmentationHead(decoder.out_channels, CLASSES, 1, upsampling=4),
    )


class ConvNorm(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, size: int, *, dilation: int = 1, groups: int = 1) -> None:
        super().__init__()
        padding = dilation * (size // 2)
        self.conv = nn.Conv2d(
            inputs, outputs, size, padding=padding, dilation=dilation, groups=groups, bias=False
        )
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.norm(self.conv(x)))


class SeparableConv(nn.Module):
    """The authors' ``split_separable_conv2d``: both parts normalised and activated."""

    def __init__(self, inputs: int, outputs: int, *, dilation: int = 1) -> None:
        super().__init__()
        self.depthwise = ConvNorm(inputs, inputs, 3, dilation=dilation, groups=inputs)
        self.pointwise = ConvNorm(inputs, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pointwise(self.depthwise(x))


def _enlarge(x: torch.Tensor, size: Any) -> torch.Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


class DeepLabV3Plus(nn.Module):
    """Figure 2 of the paper, with separable convolutions, for any size of images."""

    def __init__(self, widths: tuple[int, int], features: int, skip: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        fine, coarse = widths
        self.backbone = _resnet_features(16, "c2", "c5")
        self.aspp = nn.ModuleDict({"branch0": ConvNorm(coarse, features, 1)})
        for index, rate in enumerate(rates, start=1):
            self.aspp[f"branch{index}"] = SeparableConv(coarse, features, dilation=rate)
        self.aspp["pool"] = ConvNorm(coarse, features, 1)
        self.aspp["project"] = ConvNorm((2 + len(rates)) * features, features, 1)
        self.skip_conv = ConvNorm(fine, skip, 1)
        self.decoder_conv1 = SeparableConv(features + skip, features)
        self.decoder_conv2 = SeparableConv(features, features)
        self.head = nn.Conv2d(features, CLASSES, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.backbone(images)
        x, names = maps["c5"], [name for name in self.aspp if name.startswith("branch")]
        mean = self.aspp["pool"](x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])
        x = self.aspp["project"](torch.cat([*(self.aspp[name](x) for name in names), mean], 1))
        skip = self.skip_conv(maps["c2"])
        x = torch.cat([_enlarge(x, skip.shape[2:]), skip], 1)
        return _enlarge(self.head(self.decoder_conv2(self.decoder_conv1(x))), images.shape[2:])


class PSPNet(nn.Module):
    """Figure 3 of the paper and the auxiliary head of figure 4, as the authors' PyTorch code has them."""

    def __init__(self, widths: tuple[int, int], features: int) -> None:
        super().__init__()
        side, last = widths
        self.backbone = _resnet_features(8, "c4", "c5")
        self.pyramid = nn.ModuleDict({f"bin{size}": ConvNorm(last, last // 4, 1) for size in (1, 2, 3, 6)})
        self.conv, self.head = ConvNorm(2 * last, features, 3), nn.Conv2d(features, CLASSES, 1)
        self.aux_head = nn.ModuleDict(
            {"conv": ConvNorm(side, side // 4, 3), "head": nn.Conv2d(side // 4, CLASSES, 1)}
        )

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        maps = self.backbone(images)
        x = maps["c5"]
        grids = [
            _enlarge(layer(F.adaptive_avg_pool2d(x, int(name[3:]))), x.shape[2:])
            for name, layer in self.pyramid.items()
        ]
        scores = self.head(self.conv(torch.cat([x, *grids], 1)))
        aux = self.aux_head["head"](self.aux_head["conv"](maps["c4"]))
        return {"out": _enlarge(scores, images.shape[2:]), "aux": _enlarge(aux, images.shape[2:])}


_SIDE, _LAST = BOTTLENECKS["features"][2:]
NETWORKS = {
    "fcn_dilated": lambda: fcn.FCN(
        _torchvision_features(), fcn.FCNHead(_LAST, CLASSES), fcn.FCNHead(_SIDE, CLASSES)
    ),
    "deeplabv3": lambda: deeplabv3.DeepLabV3(
        _torchvision_features(), _deeplab_head(_LAST), fcn.FCNHead(_SIDE, CLASSES)
    ),
    "deeplabv3_mobile": _deeplab_mobile,
    "lraspp": _lraspp,
    "smp_deeplabv3": _smp_deeplabv3,
    "smp_deeplabv3plus": _smp_deeplabv3plus,
    "smp_pspnet": _smp_pspnet,
    "smp_fpn": lambda: _smp_fpn("add"),
    "smp_fpn_concatenated": lambda: _smp_fpn("cat"),
    "deeplabv3plus": lambda: DeepLabV3Plus((BOTTLENECKS["features"][0], _LAST), 6, 5, (2, 3, 5)),
    "pspnet": lambda: PSPNet((_SIDE, _LAST), 6),
}


def _side_by_side(model: nn.Module, _inputs: Any, outputs: Any) -> Any:
    """Main and auxiliary logits as ``classic_cases.SideBySide``; a forward hook."""
    if isinstance(outputs, torch.Tensor):
        return outputs
    if "aux" not in outputs:
        return outputs["out"]
    return torch.cat([outputs["out"], outputs["aux" if model.training else "out"]], 1)


def context_outputs(name: str) -> dict[str, Any]:
    """What ``context_cases.check_case`` compares with."""
    model = NETWORKS[name]()
    for module in model.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.p = 0.0
    model.register_forward_hook(_side_by_side)
    return model_outputs(model, images_of(CASES[name]))


def calibrated(model: nn.Module, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Seeds a whole network and gives it the running statistics of other images; returns its state.

    Its normalisations halve, and a bottleneck's last one gives an eighth, since otherwise a deep network's
    values, and with them the rounding, grow by the block.
    """
    source = seeded_state_dict({key: tuple(value.shape) for key, value in model.state_dict().items()})
    model.load_state_dict({key: torch.from_numpy(value) for key, value in source.items()})
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            module.weight.data *= 0.125 if name.endswith("bn3") else 0.5
    others = np.random.default_rng(1).standard_normal((4, 3, *size)).astype(np.float32)
    with torch.no_grad():
        model.train()(torch.from_numpy(others))
    model.eval()
    for module in norms:
        module.running_var.clamp_(min=0.1)
    return {key: value.numpy().copy() for key, value in model.state_dict().items()}


def logits_of(model: nn.Module, images: np.ndarray) -> np.ndarray:
    """Logits ``[N, H, W, K]`` of images ``[N, H, W, C]`` in evaluation."""
    with torch.no_grad():
        outputs = model.eval()(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous())
    return channels_last(outputs if isinstance(outputs, torch.Tensor) else outputs["out"])
