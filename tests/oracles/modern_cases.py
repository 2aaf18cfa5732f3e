"""Narrow vision transformers, NFNets and CIFAR ResNets for both sides, and the comparison. No torch here."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from oracles.network_cases import check_model, seeded_images

from jaxvision.backbones import CifarResNet, NFNet, NFNetClassifier, PooledClassifier, ViT, ViTClassifier
from jaxvision.weights import (
    Rule,
    cifar_resnet_classifier_rules,
    nfnet_timm_rules,
    vit_classifier_rules,
    vit_timm_rules,
)


class Case(NamedTuple):
    """One network at one input shape ``[N, H, W, C]``.

    Attributes:
      family: "cifar", "vit", "vit_timm" or "nfnet".
      shape: of the images.
      fields: of our backbone.
      head: fields of our classifier.
      classes: number of classes.
    """

    family: str
    shape: tuple[int, int, int, int]
    fields: dict[str, Any]
    head: Mapping[str, Any] = MappingProxyType({})
    classes: int = 3


_VIT = {"patch_size": 8, "features": 12, "depth": 2, "num_heads": 3, "mlp_features": 20, "image_size": 32}
_NFNET = {"blocks": (1, 2, 1, 1), "features": (16, 16, 32, 32), "stem_features": 16, "group_size": 8}

CASES = {
    # 3 and 5 channels more: not the same number of zeros on both sides.
    "cifar_zeros": Case("cifar", (4, 13, 10, 3), {"blocks": (1, 2, 1), "features": (4, 7, 12)}),
    "cifar_projection": Case(
        "cifar", (3, 16, 11, 3), {"blocks": (2, 1, 1), "features": (4, 6, 8), "shortcut": "projection"}
    ),
    "vit": Case("vit", (2, 32, 32, 3), _VIT),
    "vit_timm_resized": Case("vit_timm", (2, 24, 48, 3), _VIT),
    "vit_timm_average": Case(
        "vit_timm", (2, 32, 32, 3), {**_VIT, "use_final_norm": False}, {"pooling": "average"}
    ),
    "nfnet_skip_gain": Case("nfnet", (2, 45, 70, 3), _NFNET),
    "nfnet_gain_in_conv": Case(
        "nfnet",
        (2, 64, 45, 3),
        {**_NFNET, "gain_in_conv": True, "same_padding": False, "use_skip_gain": False},
    ),
}


def our_model(case: Case) -> Any:
    if case.family == "cifar":
        return PooledClassifier(CifarResNet(**case.fields), case.classes, feature="c3")
    if case.family == "nfnet":
        return NFNetClassifier(NFNet(**case.fields), case.classes)
    return ViTClassifier(ViT(**case.fields), case.classes, **case.head)


def rules_for(case: Case) -> Sequence[Rule]:
    tables = {
        "cifar": cifar_resnet_classifier_rules,
        "vit": vit_classifier_rules,
        "vit_timm": vit_timm_rules,
        "nfnet": nfnet_timm_rules,
    }
    return tables[case.family]()


def names_of(*families: str) -> list[str]:
    return [name for name, case in CASES.items() if case.family in families]


def check_against(case: Case, expected: dict[str, Any]) -> None:
    """Our logits against PyTorch's to 1e-4 relative; what training gives in float64, to 1e-6."""
    check_model(our_model(case), rules_for(case), seeded_images(case), expected)
