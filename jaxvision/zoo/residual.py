"""ResNet, ResNeXt and Wide ResNet by name."""

import functools
from collections.abc import Mapping
from types import MappingProxyType

from jaxvision.backbones import resnet
from jaxvision.weights import resnet_classifier_rules
from jaxvision.zoo.entry import Entry, build_classifier

_RESNET_PAPER = "He, Zhang, Ren and Sun 2016, Deep Residual Learning for Image Recognition"
_RESNEXT_PAPER = (
    "Xie, Girshick, Dollár, Tu and He 2017, Aggregated Residual Transformations for Deep Neural Networks"
)
_WIDE_RESNET_PAPER = "Zagoruyko and Komodakis 2016, Wide Residual Networks"


def _entry(variant: str, paper: str) -> Entry:
    return Entry(functools.partial(build_classifier, resnet, variant), resnet_classifier_rules, paper)


ENTRIES: Mapping[str, Entry] = MappingProxyType(
    {
        "resnet18": _entry("resnet18", _RESNET_PAPER),
        "resnet34": _entry("resnet34", _RESNET_PAPER),
        "resnet50": _entry("resnet50", _RESNET_PAPER),
        "resnet101": _entry("resnet101", _RESNET_PAPER),
        "resnet152": _entry("resnet152", _RESNET_PAPER),
        "resnext50_32x4d": _entry("resnext50_32x4d", _RESNEXT_PAPER),
        "resnext101_32x8d": _entry("resnext101_32x8d", _RESNEXT_PAPER),
        "resnext101_64x4d": _entry("resnext101_64x4d", _RESNEXT_PAPER),
        "wide_resnet50_2": _entry("wide_resnet50_2", _WIDE_RESNET_PAPER),
        "wide_resnet101_2": _entry("wide_resnet101_2", _WIDE_RESNET_PAPER),
    }
)
