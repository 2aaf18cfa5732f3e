"""Rules for published weights of EfficientNet and EfficientNet-Lite, in three ways of naming them."""

from collections.abc import Sequence

from jaxvision.weights.blocks import conv_norm_rules, linear_rules, squeeze_rules
from jaxvision.weights.convert import Rule

_STEM, _HEAD_CONV = "/backbone/stem", "/head_conv"


def efficientnet_rules() -> tuple[Rule, ...]:
    """Rules from torchvision's EfficientNet to our ``MobileClassifier`` over ``EfficientNet``.

    They fit every variant. The first stage's blocks do not expand, so that their parts are numbered one less
    than those of the others.

    >>> efficientnet_rules()[0].path
    'params/backbone/stem/conv/kernel'
    """
    rules = [*conv_norm_rules(r"features\.0\.0\.", r"features\.0\.1\.", _STEM)]
    for stages, parts in (("1", ()), ("[2-7]", ("expand",))):
        block, path = rf"features\.({stages})\.(\d+)\.block\.", r"/backbone/stage\1_block\2"
        for index, part in enumerate((*parts, "depthwise", "attention", "project")):
            prefix = rf"{block}{index}\."
            if part == "attention":
                rules += squeeze_rules(prefix + r"fc1\.", prefix + r"fc2\.", f"{path}/{part}")
            else:
                rules += conv_norm_rules(prefix + r"0\.", prefix + r"1\.", f"{path}/{part}")
    rules += conv_norm_rules(r"features\.8\.0\.", r"features\.8\.1\.", _HEAD_CONV)
    return (*rules, *linear_rules(r"classifier\.1\.", "/head"))


def efficientnet_timm_rules() -> tuple[Rule, ...]:
    """Rules from timm's EfficientNet, EfficientNet-Lite and MobileNetV2, which are one class there.

    They fit every variant whose first stage alone does not expand. timm counts stages from 0.

    >>> efficientnet_timm_rules()[-1].path
    'params/head/bias'
    """
    rules = [*conv_norm_rules(r"conv_stem\.", r"bn1\.", _STEM)]
    for number in range(1, 8):
        block, path = rf"blocks\.{number - 1}\.(\d+)\.", rf"/backbone/stage{number}_block\1"
        convs = ("dw", "pw") if number == 1 else ("pw", "dw", "pwl")
        parts = ("depthwise", "project") if number == 1 else ("expand", "depthwise", "project")
        for index, (conv, part) in enumerate(zip(convs, parts, strict=True), start=1):
            rules += conv_norm_rules(rf"{block}conv_{conv}\.", rf"{block}bn{index}\.", f"{path}/{part}")
        squeeze = block + r"se\."
        rules += squeeze_rules(squeeze + r"conv_reduce\.", squeeze + r"conv_expand\.", f"{path}/attention")
    rules += conv_norm_rules(r"conv_head\.", r"bn2\.", _HEAD_CONV)
    return (*rules, *linear_rules(r"classifier\.", "/head"))


def efficientnet_pytorch_rules(blocks: Sequence[int]) -> tuple[Rule, ...]:
    """Rules from the names of the package EfficientNet-PyTorch, whose weights came from TensorFlow.

    They belong to our variants with ``tf_``. The package numbers the blocks of all stages through.

    Args:
      blocks: number of blocks of each stage, ``[len(stage) for stage in backbone.stages]``.

    Returns:
      The rules of that variant, EfficientNet or EfficientNet-Lite.

    >>> efficientnet_pytorch_rules([1, 2])[-1].path
    'params/head/bias'
    """
    rules = [*conv_norm_rules(r"_conv_stem\.", r"_bn0\.", _STEM)]
    places = [(stage, index) for stage, count in enumerate(blocks, start=1) for index in range(count)]
    for number, (stage, index) in enumerate(places):
        block, path = rf"_blocks\.{number}\._", f"/backbone/stage{stage}_block{index}"
        for norm, part in enumerate(("expand", "depthwise", "project")):
            rules += conv_norm_rules(rf"{block}{part}_conv\.", rf"{block}bn{norm}\.", f"{path}/{part}")
        rules += squeeze_rules(rf"{block}se_reduce\.", rf"{block}se_expand\.", f"{path}/attention")
    rules += conv_norm_rules(r"_conv_head\.", r"_bn1\.", _HEAD_CONV)
    return (*rules, *linear_rules(r"_fc\.", "/head"))
