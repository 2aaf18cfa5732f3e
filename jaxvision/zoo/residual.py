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
# torchvision's images: its newer recipe (V2, what DEFAULT names) evaluates at 232, V1 at 256.
_OLD_RECIPE, _NEW_RECIPE = Preprocessing(resize=256), Preprocessing(resize=232)

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
"""Those of the ResNet paper; every decoder stands on each of them."""


def _entry(variant: str, paper: str, preprocessing: Preprocessing) -> Entry:
    builder = functools.partial(build_classifier, resnet, variant)
    return Entry(builder, resnet_classifier_rules, paper, preprocessing)


ENTRIES: Mapping[str, Entry] = MappingProxyType(
    {
        "resnet18": _entry("resnet18", _RESNET_PAPER, _OLD_RECIPE),
        "resnet34": _entry("resnet34", _RESNET_PAPER, _OLD_RECIPE),
        "resnet50": _entry("resnet50", _RESNET_PAPER, _NEW_RECIPE),
        "resnet101": _entry("resnet101", _RESNET_PAPER, _NEW_RECIPE),
        "resnet152": _entry("resnet152", _RESNET_PAPER, _NEW_RECIPE),
        "resnext50_32x4d": _entry("resnext50_32x4d", _RESNEXT_PAPER, _NEW_RECIPE),
        "resnext101_32x4d": _entry("resnext101_32x4d", _RESNEXT_PAPER, _NARROW_CROP),
        "resnext101_32x8d": _entry("resnext101_32x8d", _RESNEXT_PAPER, _NEW_RECIPE),
        "resnext101_64x4d": _entry("resnext101_64x4d", _RESNEXT_PAPER, _NEW_RECIPE),
        "wide_resnet50_2": _entry("wide_resnet50_2", _WIDE_RESNET_PAPER, _NEW_RECIPE),
        "wide_resnet101_2": _entry("wide_resnet101_2", _WIDE_RESNET_PAPER, _NEW_RECIPE),
        "seresnet18": _entry("seresnet18", _SE_PAPER, _NARROW_CROP),
        "seresnet34": _entry("seresnet34", _SE_PAPER, _NARROW_CROP),
        "seresnet50": _entry("seresnet50", _SE_PAPER, _WIDE_CROP),
        "seresnet101": _entry("seresnet101", _SE_PAPER, _NARROW_CROP),
        "seresnet152": _entry("seresnet152", _SE_PAPER, _NARROW_CROP),
        "seresnext50_32x4d": _entry("seresnext50_32x4d", _SE_PAPER, _NARROW_CROP),
        "seresnext101_32x4d": _entry("seresnext101_32x4d", _SE_PAPER, _NARROW_CROP),
        "seresnext101_32x8d": _entry("seresnext101_32x8d", _SE_PAPER, _WIDE_CROP),
        "seresnext101_64x4d": _entry("seresnext101_64x4d", _SE_PAPER, _NARROW_CROP),
    }
)
