"""Segmentation networks on dilated backbones, and on a feature pyramid, by name."""

import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import flax.linen as nn

from jaxvision.backbones import aligned_xception, mobilenet_v2, mobilenet_v3, resnet
from jaxvision.segmentation import LRASPP, DeepLabV3, DeepLabV3Plus, DilatedFCN, PSPNet, SemanticFPN
from jaxvision.weights import (
    AUX_CLASSIFIER,
    SMP_UNUSED_STAGES,
    Preprocessing,
    Rule,
    deeplabv3_mobilenet_v3_rules,
    deeplabv3_resnet_rules,
    fcn_resnet_rules,
    lraspp_mobilenet_v3_rules,
    smp_deeplabv3_rules,
    smp_deeplabv3plus_mobilenet_v2_rules,
    smp_deeplabv3plus_rules,
    smp_fpn_rules,
    smp_pspnet_rules,
)
from jaxvision.zoo.entry import Entry, build_classifier
from jaxvision.zoo.mobile import block_parts
from jaxvision.zoo.residual import RESNETS

_FCN_PAPER = "Long, Shelhamer and Darrell 2015, Fully Convolutional Networks for Semantic Segmentation"
_V3_PAPER = (
    "Chen, Papandreou, Schroff and Adam 2017, Rethinking Atrous Convolution for Semantic Image Segmentation"
)
_V3PLUS_PAPER = (
    "Chen, Zhu, Papandreou, Schroff and Adam 2018, Encoder-Decoder with Atrous Separable Convolution for "
    "Semantic Image Segmentation"
)
_PSP_PAPER = "Zhao, Shi, Qi, Wang and Jia 2017, Pyramid Scene Parsing Network"
_FPN_PAPER = "Kirillov, Girshick, He and Dollár 2019, Panoptic Feature Pyramid Networks"
_MOBILE_PAPER = (
    "Howard, Sandler, Chu, Chen, Chen, Tan, Wang, Zhu, Pang, Vasudevan, Le and Adam 2019, Searching for "
    "MobileNetV3"
)
# torchvision's weights were trained, and are scored, on images whose shorter side is 520, without a crop.
_IMAGES = Preprocessing((520, 520), 520)
# Its dilated MobileNetV3: the maps of the strided blocks, and the last convolution as a part of the backbone.
_DENSE_MOBILE: Mapping[str, Any] = MappingProxyType(
    {"output_stride": 16, "dilate_strided": True, "taps": "first", "head_conv": True}
)
# Fields of segmentation_models.pytorch's layouts.
_SMP_V3PLUS: Mapping[str, Any] = MappingProxyType(
    {
        "rates": (12, 24, 36),
        "pyramid_conv": True,
        "decoder_convs": 1,
        "separable_order": "joint",
        "dropout_rate": 0.5,
    }
)
_SMP_PSP: Mapping[str, Any] = MappingProxyType(
    {
        "level": "c3",
        "map_first": False,
        "norm_single": False,
        "conv_size": 1,
        "head_size": 3,
        "dropout_rate": 0.2,
    }
)


def _builder(
    network: Callable[..., nn.Module],
    family: Callable[..., nn.Module],
    variant: str,
    *,
    body: Mapping[str, Any] = MappingProxyType({}),
    **fields: Any,
) -> Callable[..., nn.Module]:
    """Builds ``network`` on a variant of a family, with fields of both that overrides may replace."""
    head = functools.partial(network, **fields)
    family = functools.partial(family, **body)
    return functools.partial(build_classifier, family, variant, head=head, num_classes=21)


def _v2_rules(make: Callable[..., Sequence[Rule]]) -> Sequence[Rule]:
    return make(block_parts(mobilenet_v2("mobilenet_v2")))


def _v3_rules(make: Callable[..., Sequence[Rule]]) -> Sequence[Rule]:
    return make(block_parts(mobilenet_v3("mobilenet_v3_large")))


def _fcn(variant: str) -> Entry:
    builder = _builder(DilatedFCN, resnet, variant, body={"output_stride": 8})
    return Entry(builder, fcn_resnet_rules, _FCN_PAPER, _IMAGES, ignore=AUX_CLASSIFIER, classifier=variant)


def _deeplabv3(variant: str) -> Entry:
    builder = _builder(DeepLabV3, resnet, variant, body={"output_stride": 8})
    return Entry(
        builder, deeplabv3_resnet_rules, _V3_PAPER, _IMAGES, ignore=AUX_CLASSIFIER, classifier=variant
    )


def _smp_deeplabv3(variant: str) -> Entry:
    body = {"output_stride": 8, "dilate_strided": True}
    builder = _builder(DeepLabV3, resnet, variant, body=body, align_corners=True)
    return Entry(builder, smp_deeplabv3_rules, _V3_PAPER, classifier=variant)


def _deeplabv3plus(variant: str) -> Entry:
    body = {"output_stride": 16, "dilate_strided": True}
    builder = _builder(DeepLabV3Plus, resnet, variant, body=body, **_SMP_V3PLUS)
    return Entry(builder, smp_deeplabv3plus_rules, _V3PLUS_PAPER, classifier=variant)


def _deeplabv3plus_mobile() -> Entry:
    body = {"output_stride": 16, "dilate_strided": True, "head_conv": True}
    builder = _builder(DeepLabV3Plus, mobilenet_v2, "mobilenet_v2", body=body, **_SMP_V3PLUS)
    rules = functools.partial(_v2_rules, smp_deeplabv3plus_mobilenet_v2_rules)
    return Entry(builder, rules, _V3PLUS_PAPER, classifier="mobilenet_v2")


def _pspnet(variant: str) -> Entry:
    builder = _builder(PSPNet, resnet, variant, body={"output_stride": 8})
    return Entry(builder, None, _PSP_PAPER, classifier=variant)


def _fpn(variant: str) -> Entry:
    builder = _builder(SemanticFPN, resnet, variant)
    return Entry(builder, smp_fpn_rules, _FPN_PAPER, classifier=variant)


def _smp_pspnet(variant: str, blocks: tuple[int, int]) -> Entry:
    body = {"blocks": blocks, "features": (64, 128)}  # the stages up to stride 8
    builder = _builder(PSPNet, resnet, variant, body=body, **_SMP_PSP)
    return Entry(builder, smp_pspnet_rules, _PSP_PAPER, ignore=SMP_UNUSED_STAGES, classifier=variant)


_MOBILE_DEEPLAB = _builder(DeepLabV3, mobilenet_v3, "mobilenet_v3_large", body=_DENSE_MOBILE, aux_level="c3")
_MOBILE_LRASPP = _builder(LRASPP, mobilenet_v3, "mobilenet_v3_large", body=_DENSE_MOBILE)

ENTRIES: Mapping[str, Entry] = MappingProxyType(
    {
        "fcn_resnet50": _fcn("resnet50"),
        "fcn_resnet101": _fcn("resnet101"),
        **{f"deeplabv3_{body}": _smp_deeplabv3(body) for body in RESNETS[:2]},
        **{f"deeplabv3_{body}": _deeplabv3(body) for body in RESNETS[2:]},
        "deeplabv3_mobilenet_v3_large": Entry(
            _MOBILE_DEEPLAB,
            functools.partial(_v3_rules, deeplabv3_mobilenet_v3_rules),
            _V3_PAPER,
            _IMAGES,
            ignore=AUX_CLASSIFIER,
            classifier="mobilenet_v3_large",
        ),
        "lraspp_mobilenet_v3_large": Entry(
            _MOBILE_LRASPP,
            functools.partial(_v3_rules, lraspp_mobilenet_v3_rules),
            _MOBILE_PAPER,
            _IMAGES,
            classifier="mobilenet_v3_large",
        ),
        **{f"deeplabv3plus_{body}": _deeplabv3plus(body) for body in RESNETS},
        "deeplabv3plus_mobilenet_v2": _deeplabv3plus_mobile(),
        "deeplabv3plus_xception65": Entry(
            _builder(DeepLabV3Plus, aligned_xception, "xception65", body={"output_stride": 16}),
            None,
            _V3PLUS_PAPER,
            classifier="xception65",
        ),
        "pspnet_resnet18": _smp_pspnet("resnet18", (2, 2)),
        "pspnet_resnet34": _smp_pspnet("resnet34", (3, 4)),
        **{f"pspnet_{body}": _pspnet(body) for body in RESNETS[2:]},
        **{f"fpn_{body}": _fpn(body) for body in RESNETS},
    }
)
