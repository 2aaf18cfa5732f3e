"""Segmentation networks by name."""

import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import flax.linen as nn

from jaxvision.backbones import efficientnet, mobilenet_v2, resnet, vgg
from jaxvision.segmentation import (
    FCN,
    BackboneUNet,
    DeconvNet,
    LinkNet,
    SegNet,
    SegNetBasic,
    UNet,
    UNetPlusPlus,
)
from jaxvision.weights import (
    SMP_UNUSED,
    Rule,
    smp_linknet_rules,
    smp_unet_rules,
    smp_unetplusplus_rules,
)
from jaxvision.zoo.entry import Entry, build_classifier, synchronised
from jaxvision.zoo.residual import RESNETS

_FCN_PAPER = "Long, Shelhamer and Darrell 2015, Fully Convolutional Networks for Semantic Segmentation"
_UNET_PAPER = (
    "Ronneberger, Fischer and Brox 2015, U-Net: Convolutional Networks for Biomedical Image Segmentation"
)
_SEGNET_PAPER = (
    "Badrinarayanan, Kendall and Cipolla 2017, SegNet: A Deep Convolutional Encoder-Decoder Architecture for "
    "Image Segmentation"
)
_DECONVNET_PAPER = "Noh, Hong and Han 2015, Learning Deconvolution Network for Semantic Segmentation"
_LINKNET_PAPER = (
    "Chaurasia and Culurciello 2017, LinkNet: Exploiting Encoder Representations for Efficient Semantic "
    "Segmentation"
)
_UNETPLUSPLUS_PAPER = (
    "Zhou, Siddiquee, Tajbakhsh and Liang 2018, UNet++: A Nested U-Net Architecture for Medical Image "
    "Segmentation"
)


def _on_backbone(
    head: Callable[..., nn.Module],
    paper: str,
    family: Callable[..., nn.Module],
    variant: str,
    rules: Callable[[], Sequence[Rule]] | None = None,
) -> Entry:
    """An entry of a network on a backbone, which weights of the classifier of that name can start."""
    builder = functools.partial(build_classifier, family, variant, head=head, num_classes=21)  # Pascal VOC's
    ignore = () if rules is None else SMP_UNUSED
    return Entry(builder, rules, paper, ignore=ignore, classifier=variant)


def _fcn_entry(variant: str, stride: int) -> Entry:
    return _on_backbone(functools.partial(FCN, stride=stride), _FCN_PAPER, vgg, variant)


def _basic(*, num_classes: int = 11, axis_name: str | None = None, **fields: Any) -> nn.Module:
    """SegNet-Basic; 11 classes are CamVid's."""
    return synchronised(SegNetBasic(num_classes, **fields), axis_name)


def _unet(*, num_classes: int = 2, **fields: Any) -> UNet:
    return UNet(num_classes, **fields)


_unet_entry = functools.partial(_on_backbone, BackboneUNet, _UNET_PAPER)
_linknet_entry = functools.partial(_on_backbone, LinkNet, _LINKNET_PAPER, resnet, rules=smp_linknet_rules)
_unetplusplus_entry = functools.partial(
    _on_backbone, UNetPlusPlus, _UNETPLUSPLUS_PAPER, resnet, rules=smp_unetplusplus_rules
)

ENTRIES: Mapping[str, Entry] = MappingProxyType(
    {
        "fcn32s_vgg16": _fcn_entry("vgg16", 32),
        "fcn16s_vgg16": _fcn_entry("vgg16", 16),
        "fcn8s_vgg16": _fcn_entry("vgg16", 8),
        "fcn32s_vgg16_bn": _fcn_entry("vgg16_bn", 32),
        "fcn16s_vgg16_bn": _fcn_entry("vgg16_bn", 16),
        "fcn8s_vgg16_bn": _fcn_entry("vgg16_bn", 8),
        "segnet": _on_backbone(SegNet, _SEGNET_PAPER, vgg, "vgg16_bn"),
        "segnet_basic": Entry(_basic, None, _SEGNET_PAPER),
        "deconvnet": _on_backbone(DeconvNet, _DECONVNET_PAPER, vgg, "vgg16_bn"),
        "unet": Entry(_unet, None, _UNET_PAPER),
        "unet_bn": Entry(functools.partial(_unet, use_norm=True), None, _UNET_PAPER),
        **{f"unet_{body}": _unet_entry(resnet, body, smp_unet_rules) for body in RESNETS},
        "unet_mobilenet_v2": _unet_entry(mobilenet_v2, "mobilenet_v2"),
        "unet_efficientnet_b0": _unet_entry(efficientnet, "efficientnet_b0"),
        **{f"linknet_{body}": _linknet_entry(body) for body in RESNETS},
        **{f"unetplusplus_{body}": _unetplusplus_entry(body) for body in RESNETS},
    }
)
