"""Narrow encoder-decoder networks for segmentation, for both sides. No torch here.

``torch_segnets`` builds the other side of each case under the same name.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from oracles.network_cases import NARROW, VGG11, check_model

from jaxvision.backbones import VGG, ResNet
from jaxvision.layers import BasicBlock, Bottleneck, ConcurrentSqueezeExcitation
from jaxvision.segmentation import BackboneUNet, DeconvNet, LinkNet, SegNet, SegNetBasic, UNetPlusPlus
from jaxvision.weights import (
    Rule,
    smp_linknet_rules,
    smp_unet_rules,
    smp_unetplusplus_rules,
    vgg_backbone_rules,
)
from jaxvision.weights.blocks import conv_norm_rules, norm_rules

CLASSES = 2
BRANCHES = 3  # scored beside the last node of a UNet++ on five feature maps


class SegCase(NamedTuple):
    """One network with its rules at one input shape; ``scale`` is the deviation of its images."""

    model: Any
    rules: tuple[Rule, ...]
    shape: tuple[int, int, int, int]
    scale: float = 1.0


class Supervised:
    """A UNet++ with deep supervision, whose branches' logits stand side by side.

    In training behind the main ones; in evaluation behind the mean, each by pruning to it.
    """

    def __init__(self, model: UNetPlusPlus) -> None:
        self.model, self.init = model, model.init

    def apply(
        self, variables: Any, images: jax.Array, *, train: bool, mutable: Any = (), **options: Any
    ) -> Any:
        if not train:
            every = [self.model, *(self.model.clone(prune_to=branch + 1) for branch in range(BRANCHES))]
            return jnp.concatenate([model.apply(variables, images, train=False) for model in every], -1)
        logits, updates = self.model.apply(
            variables, images, train=True, mutable=[*mutable, "aux_logits"], **options
        )
        updates = dict(updates)
        sides = updates.pop("aux_logits")
        assert sorted(sides) == [f"branch{branch + 1}" for branch in range(BRANCHES)]
        return jnp.concatenate([logits, *(sides[name] for name in sorted(sides))], -1), updates


def segnet_rules(convolutions: tuple[int, ...]) -> tuple[Rule, ...]:
    """From the names of ``torch_segnets.SegNet`` and ``SegNetBasic``."""
    return (*vgg_backbone_rules(convolutions, use_norm=True), *_unit_rules("conv"), *_head_rules())


def deconvnet_rules(convolutions: tuple[int, ...]) -> tuple[Rule, ...]:
    """From the names of ``torch_segnets.DeconvNet``."""
    return (
        *vgg_backbone_rules(convolutions, use_norm=True),
        Rule(r"(fc\d)\.weight", r"params/\1/kernel", "conv"),
        Rule(r"(fc\d)\.bias", r"params/\1/bias"),
        *norm_rules(r"(fc\d_norm)\.", r"/\1"),
        *_unit_rules("transposed_conv"),
        *_head_rules(),
    )


def _unit_rules(layout: str) -> tuple[Rule, ...]:
    return conv_norm_rules(r"(\w+coder\w+)\.conv\.", r"(\w+coder\w+)\.norm\.", r"/\1", layout=layout)


def _head_rules() -> tuple[Rule, ...]:
    return (
        Rule(r"(\w*head\d?)\.weight", r"params/\1/kernel", "conv"),
        Rule(r"(\w*head\d?)\.bias", r"params/\1/bias"),
    )


def _vgg() -> VGG:
    return VGG(VGG11, NARROW, use_norm=True)


RESNET = {"block": BasicBlock, "blocks": (1, 1, 1, 1), "features": (4, 4, 8, 8), "stem_features": 4}
DILATED = {**RESNET, "block": Bottleneck, "features": (8, 16, 16, 24), "output_stride": 8}
DECODER = (6, 5, 4, 4, 3)
SQUEEZE = functools.partial(ConcurrentSqueezeExcitation, reduction=2)

CASES = {
    "segnet": SegCase(SegNet(_vgg(), CLASSES), segnet_rules(VGG11), (2, 61, 62, 3)),
    "segnet_basic": SegCase(SegNetBasic(CLASSES, (4, 5, 6, 7)), segnet_rules(()), (2, 45, 61, 3)),
    # Large images, so that local response normalisation changes something.
    "segnet_basic_lrn": SegCase(
        SegNetBasic(CLASSES, (4, 5), kernel_size=5, use_lrn=True), segnet_rules(()), (2, 24, 32, 3), 100.0
    ),
    "deconvnet": SegCase(DeconvNet(_vgg(), 1, hidden=10, window=2), deconvnet_rules(VGG11), (4, 63, 64, 3)),
    "unet_resnet": SegCase(
        BackboneUNet(ResNet(**RESNET), CLASSES, DECODER), smp_unet_rules(), (2, 45, 61, 3)
    ),
    "unet_dilated": SegCase(
        BackboneUNet(ResNet(**DILATED), CLASSES, DECODER), smp_unet_rules(), (1, 40, 61, 3)
    ),
    "unet_scse": SegCase(
        BackboneUNet(ResNet(**RESNET), CLASSES, DECODER, SQUEEZE), smp_unet_rules(), (2, 45, 61, 3)
    ),
    "unet_bare": SegCase(
        BackboneUNet(ResNet(**RESNET), CLASSES, DECODER, norm=None), smp_unet_rules(), (2, 33, 64, 3)
    ),
    "linknet_resnet": SegCase(LinkNet(ResNet(**RESNET), CLASSES, 6), smp_linknet_rules(), (2, 45, 61, 3)),
    "unetplusplus_resnet": SegCase(
        UNetPlusPlus(ResNet(**RESNET), CLASSES, DECODER), smp_unetplusplus_rules(), (2, 32, 64, 3)
    ),
    "unetplusplus_supervised": SegCase(
        Supervised(UNetPlusPlus(ResNet(**RESNET), 1, DECODER, deep_supervision=True)),
        (*smp_unetplusplus_rules(), *_head_rules()),
        (3, 32, 32, 3),
    ),
}


def images_of(case: SegCase) -> np.ndarray:
    draw = np.random.default_rng(7).standard_normal(case.shape)
    return (case.scale * draw).astype(np.float32)


def check_segnet(name: str, expected: dict[str, Any]) -> None:
    """Our logits against PyTorch's to 1e-4 relative; what training gives in float64, to 1e-6."""
    case = CASES[name]
    check_model(case.model, case.rules, images_of(case), expected)
