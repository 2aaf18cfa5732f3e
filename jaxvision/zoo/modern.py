"""Vision transformers and NFNets by name."""

import functools
import math
from collections.abc import Mapping
from types import MappingProxyType

from jaxvision.backbones import NFNET_RECIPES, NFNetClassifier, ViTClassifier, nfnet, vit
from jaxvision.weights import Preprocessing, nfnet_timm_rules, vit_classifier_rules, vit_timm_rules
from jaxvision.zoo.entry import Entry, build_classifier

_VIT_PAPER = (
    "Dosovitskiy et al. 2021, An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale"
)
_NFNET_PAPER = (
    "Brock, De, Smith and Simonyan 2021, High-Performance Large-Scale Image Recognition Without Normalization"
)
_HALF = (0.5, 0.5, 0.5)


def _torchvision_vit(variant: str, *, resize: int = 256, interpolation: str = "bilinear") -> Entry:
    builder = functools.partial(build_classifier, vit, variant, head=ViTClassifier)
    preprocessing = Preprocessing(resize=resize, interpolation=interpolation)
    return Entry(builder, vit_classifier_rules, _VIT_PAPER, preprocessing)


def _timm_vit(variant: str) -> Entry:
    builder = functools.partial(build_classifier, vit, variant, head=ViTClassifier)
    preprocessing = Preprocessing(resize=248, mean=_HALF, std=_HALF, interpolation="bicubic")
    return Entry(builder, vit_timm_rules, _VIT_PAPER, preprocessing)


def _nfnet(variant: str, crop: float) -> Entry:
    """``crop`` is the share of each resized side that the network sees.

    The published weights, those named dm, see whole images resized to a square, whatever their proportions.
    """
    builder = functools.partial(build_classifier, nfnet, variant, head=NFNetClassifier)
    size = NFNET_RECIPES[variant[-2:]].test_size
    side = math.floor(size / crop)
    resize = (side, side) if variant.startswith("dm_") else side
    preprocessing = Preprocessing((size, size), resize, interpolation="bicubic")
    return Entry(builder, nfnet_timm_rules, _NFNET_PAPER, preprocessing)


# Preprocessing as torchvision's weights IMAGENET1K_V1 (of vit_h_14: IMAGENET1K_SWAG_LINEAR_V1) and timm's
# configurations have it; timm's resized sizes are the crop over its share, 0.9 for its vision transformers.
ENTRIES: Mapping[str, Entry] = MappingProxyType(
    {
        "vit_b_16": _torchvision_vit("vit_b_16"),
        "vit_b_32": _torchvision_vit("vit_b_32"),
        "vit_l_16": _torchvision_vit("vit_l_16", resize=242),
        "vit_l_32": _torchvision_vit("vit_l_32"),
        "vit_h_14": _torchvision_vit("vit_h_14", resize=224, interpolation="bicubic"),
        "vit_tiny_patch16_224": _timm_vit("vit_tiny_patch16_224"),
        "vit_small_patch16_224": _timm_vit("vit_small_patch16_224"),
        "vit_base_patch16_224": _timm_vit("vit_base_patch16_224"),
        "dm_nfnet_f0": _nfnet("dm_nfnet_f0", 0.9),
        "dm_nfnet_f1": _nfnet("dm_nfnet_f1", 0.91),
        "dm_nfnet_f2": _nfnet("dm_nfnet_f2", 0.92),
        "dm_nfnet_f3": _nfnet("dm_nfnet_f3", 0.94),
        "nfnet_f0": _nfnet("nfnet_f0", 0.9),
        "nfnet_f1": _nfnet("nfnet_f1", 0.9),
        "nfnet_f2": _nfnet("nfnet_f2", 0.9),
        "nfnet_f3": _nfnet("nfnet_f3", 0.9),
    }
)
