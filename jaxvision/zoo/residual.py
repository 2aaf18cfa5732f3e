"""ResNet, ResNeXt, Wide ResNet and SE-ResNet by name."""

import functools
from collections.abc import Mapping
from types import MappingProxyType

from jaxvision.backbones import resnet
from jaxvision.weights import Preprocessing, resnet_classifier_rules
from jaxvision.zoo.entry import Entry, build_classifier

_RESNET_PAPER = "He, Zhang, Ren and Sun 2016, Deep Residual Learning for Image Recognition"
_RESNEXT_PAPER = (
    "Xie, Girshick, Dollár, Tu and He 2017, Aggregated Residual Transformations for Deep Neural Networks"
)
_WIDE_RESNET_PAPER = "Zagoruyko and Komodakis 2016, Wide Residual Networks"
_SE_PAPER = "Hu, Shen and Sun 2018, Squeeze-and-Excitation Networks"
# timm's images: its crop_pct is 0.95 for the weights that it trained last, 0.875 for the others.
_WIDE_CROP = Preprocessing(resize=235, interpolation="bicubic")
_NARROW_CROP = Preprocessing(resize=256, interpolation="bicubic")


def _entry(variant: str, paper: str) -> Entry:
    return Entry(functools.partial(build_classifier, resnet, variant), resnet_classifier_rules, paper)


def _se_entry(variant: str, preprocessing: Preprocessing) -> Entry:
    return _entry(variant, _SE_PAPER)._replace(preprocessing=preprocessing)


ENTRIES: Mapping[str, Entry] = MappingProxyType(
    {
        "resnet18": _entry("resnet18", _RESNET_PAPER),
        "resnet34": _entry("resnet34", _RESNET_PAPER),
        "resnet50": _entry("resnet50", _RESNET_PAPER),
        "resnet101": _entry("resnet101", _RESNET_PAPER),
        "resnet152": _entry("resnet152", _RESNET_PAPER),
        "resnext50_32x4d": _entry("resnext50_32x4d", _RESNEXT_PAPER),
        "resnext101_32x4d": _entry("resnext101_32x4d", _RESNEXT_PAPER)._replace(preprocessing=_NARROW_CROP),
        "resnext101_32x8d": _entry("resnext101_32x8d", _RESNEXT_PAPER),
        "resnext101_64x4d": _entry("resnext101_64x4d", _RESNEXT_PAPER),
        "wide_resnet50_2": _entry("wide_resnet50_2", _WIDE_RESNET_PAPER),
        "wide_resnet101_2": _entry("wide_resnet101_2", _WIDE_RESNET_PAPER),
        "seresnet18": _se_entry("seresnet18", _NARROW_CROP),
        "seresnet34": _se_entry("seresnet34", _NARROW_CROP),
        "seresnet50": _se_entry("seresnet50", _WIDE_CROP),
        "seresnet101": _se_entry("seresnet101", _NARROW_CROP),
        "seresnet152": _se_entry("seresnet152", _NARROW_CROP),
        "seresnext50_32x4d": _se_entry("seresnext50_32x4d", _NARROW_CROP),
        "seresnext101_32x4d": _se_entry("seresnext101_32x4d", _NARROW_CROP),
        "seresnext101_32x8d": _se_entry("seresnext101_32x8d", _WIDE_CROP),
        "seresnext101_64x4d": _se_entry("seresnext101_64x4d", _NARROW_CROP),
    }
)
