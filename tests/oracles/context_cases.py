"""Narrow segmentation networks of context modules for both sides. No torch here.

``torch_context_networks`` builds the other side of each case under the same name.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from oracles.classic_cases import SideBySide
from oracles.network_cases import check_model

from jaxvision.backbones import MobileBackbone, MobileNetV3, ResNet
from jaxvision.layers import BasicBlock, Bottleneck
from jaxvision.segmentation import LRASPP, DeepLabV3, DeepLabV3Plus, DilatedFCN, PSPNet, SemanticFPN
from jaxvision.weights import (
    Rule,
    deeplabv3_mobilenet_v3_rules,
    deeplabv3_resnet_rules,
    fcn_resnet_rules,
    lraspp_mobilenet_v3_rules,
    resnet_backbone_rules,
    smp_deeplabv3_rules,
    smp_deeplabv3plus_rules,
    smp_fpn_rules,
    smp_pspnet_rules,
)

CLASSES = 3


class Case(NamedTuple):
    """One network with its rules at one input shape ``[N, H, W, C]``; ``aux``: with an auxiliary head."""

    model: Any
    rules: Sequence[Rule]
    shape: tuple[int, int, int, int]
    aux: bool = False


BOTTLENECKS = {"block": Bottleneck, "blocks": (1, 1, 1, 1), "features": (8, 8, 12, 16), "stem_features": 4}
BASICS = {"block": BasicBlock, "blocks": (1, 1, 1, 1), "features": (4, 6, 8, 10), "stem_features": 4}
# Widths grow with each stride that dilation takes away: otherwise ours would add the block's input.
MOBILE = (
    ((3, 8, 8, False, False, 1),),
    ((3, 16, 8, False, False, 2),),
    ((5, 16, 16, True, False, 2), (5, 24, 16, True, False, 1)),
    ((3, 32, 16, False, True, 2), (3, 24, 16, True, True, 1)),
    ((5, 32, 24, True, True, 2), (5, 40, 24, True, True, 1)),
)
_DILATED = ResNet(**BOTTLENECKS, output_stride=8)
_MOBILE = MobileNetV3(layout=MOBILE, output_stride=16, dilate_strided=True, taps="first", head_conv=True)
_SMP = {"dilate_strided": True}
_ODD, _EVEN = (3, 25, 33, 3), (3, 32, 48, 3)  # three images, for the means over a whole one are normalised


def block_parts(body: MobileBackbone) -> list[list[tuple[str, ...]]]:
    return [[block.parts for block in stage] for stage in body.stages]


def _restated(layers: Sequence[str]) -> tuple[Rule, ...]:
    """Rules of the restatements, whose layers have our names with dots for slashes."""
    rules = [*resnet_backbone_rules(prefix=r"backbone\.")]
    for layer in layers:
        key, path = layer.replace("/", r"\.") + r"\.", layer
        if layer.endswith("head"):
            rules.append(Rule(key + "weight", f"params/{path}/kernel", "conv"))
            rules.append(Rule(key + "bias", f"params/{path}/bias"))
            continue
        rules.append(Rule(key + r"conv\.weight", f"params/{path}/conv/kernel", "conv"))
        rules.append(Rule(key + r"norm\.weight", f"params/{path}/norm/scale"))
        rules.append(Rule(key + r"norm\.bias", f"params/{path}/norm/bias"))
        rules.append(Rule(key + r"norm\.running_(mean|var)", rf"batch_stats/{path}/norm/\1"))
    return tuple(rules)


def _separable(*layers: str) -> list[str]:
    return [f"{layer}/{part}" for layer in layers for part in ("depthwise", "pointwise")]


CASES = {
    "fcn_dilated": Case(
        DilatedFCN(_DILATED, CLASSES, aux_head=True, dropout_rate=0.0), fcn_resnet_rules(), _ODD, True
    ),
    "deeplabv3": Case(
        DeepLabV3(
            _DILATED, CLASSES, 6, (2, 3, 5), aux_head=True, dropout_rate=0.0, aux_dropout_rate=0.0
        ),
        deeplabv3_resnet_rules(),
        _ODD,
        True,
    ),
    "deeplabv3_mobile": Case(
        DeepLabV3(
            _MOBILE, CLASSES, 6, (2, 3, 5), aux_head=True, aux_level="c3", dropout_rate=0.0,
            aux_dropout_rate=0.0,
        ),
        deeplabv3_mobilenet_v3_rules(block_parts(_MOBILE)),
        _ODD,
        True,
    ),
    "lraspp": Case(LRASPP(_MOBILE, CLASSES, 6), lraspp_mobilenet_v3_rules(block_parts(_MOBILE)), _ODD),
    "smp_deeplabv3": Case(
        DeepLabV3(
            ResNet(**BASICS, **_SMP, output_stride=8), CLASSES, 6, (2, 3, 5),
            dropout_rate=0.0, align_corners=True,
        ),
        smp_deeplabv3_rules(),
        _EVEN,
    ),
    "smp_deeplabv3plus": Case(
        DeepLabV3Plus(
            ResNet(**BASICS, **_SMP, output_stride=16), CLASSES, 6, (2, 3, 5),
            pyramid_conv=True, decoder_convs=1, separable_order="joint", dropout_rate=0.0,
        ),
        smp_deeplabv3plus_rules(),
        _EVEN,
    ),
    "smp_pspnet": Case(
        PSPNet(
            ResNet(**{**BASICS, "blocks": (1, 1), "features": (4, 8)}), CLASSES, 6,
            level="c3", map_first=False, norm_single=False, conv_size=1, head_size=3, dropout_rate=0.0,
        ),
        smp_pspnet_rules(),
        (1, 40, 64, 3),
    ),
    "smp_fpn": Case(
        SemanticFPN(ResNet(**BASICS), CLASSES, 8, 8, num_groups=4, dropout_rate=0.0),
        smp_fpn_rules(),
        (2, 32, 64, 3),
    ),
    "smp_fpn_concatenated": Case(
        SemanticFPN(ResNet(**BASICS), CLASSES, 8, 8, merge="concatenate", num_groups=4, dropout_rate=0.0),
        smp_fpn_rules(),
        (2, 32, 64, 3),
    ),
    "deeplabv3plus": Case(
        DeepLabV3Plus(ResNet(**BOTTLENECKS, output_stride=16), CLASSES, 6, (2, 3, 5), 5, dropout_rate=0.0),
        _restated(
            [
                "aspp/branch0", "aspp/pool", "aspp/project", "skip_conv", "head",
                *_separable(*(f"aspp/branch{n}" for n in (1, 2, 3)), "decoder_conv1", "decoder_conv2"),
            ]
        ),
        _ODD,
    ),
    "pspnet": Case(
        PSPNet(_DILATED, CLASSES, 6, aux_head=True, dropout_rate=0.0),
        _restated(
            [*(f"pyramid/bin{n}" for n in (1, 2, 3, 6)), "conv", "head", "aux_head/conv", "aux_head/head"]
        ),
        _ODD,
        True,
    ),
}  # fmt: skip


def images_of(case: Case) -> np.ndarray:
    return np.random.default_rng(7).standard_normal(case.shape).astype(np.float32)


def check_case(name: str, expected: dict[str, Any]) -> None:
    """Our logits and auxiliary ones to 1e-4 of PyTorch's; what training gives in float64, to 1e-6."""
    case = CASES[name]
    model = SideBySide(case.model, ("aux",)) if case.aux else case.model
    check_model(model, case.rules, images_of(case), expected)
