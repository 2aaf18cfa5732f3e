"""Rules for published weights of MobileNet V1, V2 and V3."""

from collections.abc import Sequence
from typing import TypeAlias

from jaxvision.weights.blocks import conv_norm_rules, linear_rules, squeeze_rules
from jaxvision.weights.convert import Rule

Parts: TypeAlias = Sequence[Sequence[Sequence[str]]]
"""Of each block of each stage the names of its submodules, in order:
``[[block.parts for block in stage] for stage in backbone.stages]``."""


def mobilenet_v1_rules() -> tuple[Rule, ...]:
    """Rules from timm's MobileNet V1 to a classifier over our ``MobileNetV1``; they fit every variant.

    timm counts stages from 0.

    >>> mobilenet_v1_rules()[-1].path
    'params/head/bias'
    """
    rules = [*conv_norm_rules(r"conv_stem\.", r"bn1\.", "/backbone/stem")]
    for number in range(1, 6):
        block, path = rf"blocks\.{number - 1}\.(\d+)\.", rf"/backbone/stage{number}_block\1"
        rules += conv_norm_rules(block + r"conv_dw\.", block + r"bn1\.", f"{path}/depthwise")
        rules += conv_norm_rules(block + r"conv_pw\.", block + r"bn2\.", f"{path}/pointwise")
    rules += conv_norm_rules(r"conv_head\.", r"bn2\.", "/head_conv")
    return (*rules, *linear_rules(r"classifier\.", "/head"))


def mobilenet_v2_backbone_rules(
    parts: Parts,
    *,
    module: str = "/backbone",
    prefix: str = r"features\.",
    head_conv: str = "/backbone/head_conv",
) -> tuple[Rule, ...]:
    """Rules from torchvision's ``features.*`` to our ``MobileNetV2`` and the 1x1 convolution behind it.

    torchvision numbers the blocks of all stages through, and inside a block the last convolution and its
    normalisation by themselves.

    Args:
      parts: of each block of each stage the names of its submodules.
      module: path of the backbone inside the variables, with a leading slash; ``""`` for the backbone alone.
      prefix: regular expression of what stands before the numbers; no group.
      head_conv: path of the last convolution.

    Returns:
      The rules of the variant with these blocks.

    >>> mobilenet_v2_backbone_rules([[("depthwise", "project")]])[7].path
    'params/backbone/stage1_block0/depthwise/norm/bias'
    """
    rules = [*conv_norm_rules(prefix + r"0\.0\.", prefix + r"0\.1\.", f"{module}/stem")]
    for number, path, names in _blocks(parts, module):
        block = rf"{prefix}{number}\.conv\."
        for index, name in enumerate(names):
            conv, norm = rf"{index}\.0\.", rf"{index}\.1\."
            if name == "project":
                conv, norm = rf"{index}\.", rf"{index + 1}\."
            rules += conv_norm_rules(block + conv, block + norm, f"{path}/{name}")
    last = rf"{prefix}{1 + sum(map(len, parts))}\."
    return (*rules, *conv_norm_rules(last + r"0\.", last + r"1\.", head_conv))


def mobilenet_v2_rules(parts: Parts) -> tuple[Rule, ...]:
    """Rules from torchvision's MobileNetV2 to our ``MobileClassifier`` over ``MobileNetV2``.

    Args:
      parts: of each block of each stage the names of its submodules.

    Returns:
      The rules of the variant with these blocks.

    >>> mobilenet_v2_rules([[("depthwise", "project")]])[-1].path
    'params/head/bias'
    """
    body = mobilenet_v2_backbone_rules(parts, head_conv="/head_conv")
    return (*body, *linear_rules(r"classifier\.1\.", "/head"))


def mobilenet_v3_backbone_rules(
    parts: Parts,
    *,
    module: str = "/backbone",
    prefix: str = r"features\.",
    head_conv: str = "/backbone/head_conv",
) -> tuple[Rule, ...]:
    """Rules from torchvision's ``features.*`` to our ``MobileNetV3`` and the 1x1 convolution behind it.

    torchvision numbers the blocks of all stages through, and the parts that a block has.

    Args:
      parts: as :func:`mobilenet_v2_backbone_rules`.
      module: as there.
      prefix: as there.
      head_conv: as there.

    Returns:
      The rules of the variant with these blocks.

    >>> mobilenet_v3_backbone_rules([[("depthwise", "project")]])[-1].path
    'batch_stats/backbone/head_conv/norm/var'
    """
    rules = [*conv_norm_rules(prefix + r"0\.0\.", prefix + r"0\.1\.", f"{module}/stem")]
    for number, path, names in _blocks(parts, module):
        for index, name in enumerate(names):
            part = rf"{prefix}{number}\.block\.{index}\."
            if name == "attention":
                rules += squeeze_rules(part + r"fc1\.", part + r"fc2\.", f"{path}/{name}")
            else:
                rules += conv_norm_rules(part + r"0\.", part + r"1\.", f"{path}/{name}")
    last = rf"{prefix}{1 + sum(map(len, parts))}\."
    return (*rules, *conv_norm_rules(last + r"0\.", last + r"1\.", head_conv))


def mobilenet_v3_rules(parts: Parts) -> tuple[Rule, ...]:
    """Rules from torchvision's MobileNetV3 to our ``MobileClassifier`` over ``MobileNetV3``.

    Args:
      parts: of each block of each stage the names of its submodules.

    Returns:
      The rules of the variant with these blocks.

    >>> mobilenet_v3_rules([[("depthwise", "project")]])[-1].path
    'params/head/bias'
    """
    body = mobilenet_v3_backbone_rules(parts, head_conv="/head_conv")
    hidden, head = linear_rules(r"classifier\.0\.", "/hidden1"), linear_rules(r"classifier\.3\.", "/head")
    return (*body, *hidden, *head)


def _blocks(parts: Parts, module: str) -> list[tuple[int, str, Sequence[str]]]:
    """Number through all stages, counted from 1, path and submodules of each block."""
    places = [
        (f"{module}/stage{stage}_block{index}", names)
        for stage, blocks in enumerate(parts, start=1)
        for index, names in enumerate(blocks)
    ]
    return [(number, path, names) for number, (path, names) in enumerate(places, start=1)]
