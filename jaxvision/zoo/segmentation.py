"""Segmentation networks by name."""

import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from jax.typing import DTypeLike

from jaxvision.backbones import vgg
from jaxvision.segmentation import FCN, UNet
from jaxvision.zoo.entry import Entry, synchronised

_FCN_PAPER = "Long, Shelhamer and Darrell 2015, Fully Convolutional Networks for Semantic Segmentation"
_UNET_PAPER = (
    "Ronneberger, Fischer and Brox 2015, U-Net: Convolutional Networks for Biomedical Image Segmentation"
)


def _fcn(
    variant: str,
    stride: int,
    *,
    num_classes: int = 21,
    dtype: DTypeLike | None = None,
    axis_name: str | None = None,
    backbone: Mapping[str, Any] = MappingProxyType({}),
    **fields: Any,
) -> FCN:
    body = synchronised(vgg(variant, **{"dtype": dtype, **backbone}), axis_name)
    return FCN(body, num_classes, **{"stride": stride, "dtype": dtype, **fields})


def _unet(*, num_classes: int = 2, **fields: Any) -> UNet:
    return UNet(num_classes, **fields)


def _fcn_entry(variant: str, stride: int) -> Entry:
    return Entry(functools.partial(_fcn, variant, stride), None, _FCN_PAPER)


ENTRIES: Mapping[str, Entry] = MappingProxyType(
    {
        "fcn32s_vgg16": _fcn_entry("vgg16", 32),
        "fcn16s_vgg16": _fcn_entry("vgg16", 16),
        "fcn8s_vgg16": _fcn_entry("vgg16", 8),
        "fcn32s_vgg16_bn": _fcn_entry("vgg16_bn", 32),
        "fcn16s_vgg16_bn": _fcn_entry("vgg16_bn", 16),
        "fcn8s_vgg16_bn": _fcn_entry("vgg16_bn", 8),
        "unet": Entry(_unet, None, _UNET_PAPER),
        "unet_bn": Entry(functools.partial(_unet, use_norm=True), None, _UNET_PAPER),
    }
)
