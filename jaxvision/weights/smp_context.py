"""Rules for DeepLabV3, DeepLabV3+, PSPNet and FPN of segmentation_models.pytorch.

Its ResNet encoders have torchvision's names and the tables fit each of them.
"""

from collections.abc import Sequence

from jaxvision.weights.blocks import conv_norm_rules, conv_rules
from jaxvision.weights.convert import Rule
from jaxvision.weights.mobilenet import Parts, mobilenet_v2_backbone_rules
from jaxvision.weights.resnet import resnet_backbone_rules
from jaxvision.weights.segmentation import aspp_rules, separable_rules

SMP_UNUSED_STAGES = (r"encoder\.layer[34]\..*",)
"""Stages of a ResNet encoder behind the depth that a decoder reads (PSPNet's is 3); for convert's ignore."""

_HEAD = conv_rules(r"segmentation_head\.0\.", "/head")


def smp_deeplabv3_rules() -> tuple[Rule, ...]:
    """Rules from ``DeepLabV3`` to ``jaxvision.segmentation.DeepLabV3`` over our ResNet.

    Files from before version 0.4 number the decoder's parts, which later ones name; both are known.

    >>> smp_deeplabv3_rules()[-2].path
    'params/head/kernel'
    """
    return (
        *resnet_backbone_rules(prefix=r"encoder\."),
        *aspp_rules(r"decoder\.(?:aspp|0)\.", "/aspp"),
        *conv_norm_rules(r"decoder\.(?:conv|1)\.", r"decoder\.(?:bn|2)\.", "/conv"),
        *_HEAD,
    )


def smp_deeplabv3plus_rules() -> tuple[Rule, ...]:
    """Rules from ``DeepLabV3Plus`` to ``jaxvision.segmentation.DeepLabV3Plus`` over our ResNet.

    >>> smp_deeplabv3plus_rules()[-2].path
    'params/head/kernel'
    """
    return (*resnet_backbone_rules(prefix=r"encoder\."), *_deeplabv3plus_decoder_rules())


def smp_deeplabv3plus_mobilenet_v2_rules(parts: Parts) -> tuple[Rule, ...]:
    """Rules from ``DeepLabV3Plus`` to ``jaxvision.segmentation.DeepLabV3Plus`` over our MobileNetV2.

    Args:
      parts: of each block of each stage the names of its submodules.

    Returns:
      The rules of the variant with these blocks.

    >>> smp_deeplabv3plus_mobilenet_v2_rules([[("depthwise", "project")]])[-2].path
    'params/head/kernel'
    """
    body = mobilenet_v2_backbone_rules(parts, prefix=r"encoder\.features\.")
    return (*body, *_deeplabv3plus_decoder_rules())


def smp_pspnet_rules(*, bins: Sequence[int] = (1, 2, 3, 6)) -> tuple[Rule, ...]:
    """Rules from ``PSPNet`` to ``jaxvision.segmentation.PSPNet`` over our ResNet.

    The file has all stages of the encoder; those that the network lacks are :data:`SMP_UNUSED_STAGES`.

    Args:
      bins: sizes of the grids.

    Returns:
      One rule a kind of tensor.

    >>> smp_pspnet_rules()[-2].path
    'params/head/kernel'
    """
    rules = [*resnet_backbone_rules(prefix=r"encoder\.")]
    for index, grid in enumerate(bins):
        conv, path = rf"decoder\.psp\.blocks\.{index}\.pool\.1\.", f"/pyramid/bin{grid}"
        if grid == 1:  # without a normalisation
            rules += conv_rules(conv + r"0\.", f"{path}/conv")
        else:
            rules += conv_norm_rules(conv + r"0\.", conv + r"1\.", path)
    return (*rules, *conv_norm_rules(r"decoder\.conv\.0\.", r"decoder\.conv\.1\.", "/conv"), *_HEAD)


def smp_fpn_rules() -> tuple[Rule, ...]:
    """Rules from ``FPN`` to ``jaxvision.segmentation.SemanticFPN`` over our ResNet.

    >>> smp_fpn_rules()[-2].path
    'params/head/kernel'
    """
    rules = [
        *resnet_backbone_rules(prefix=r"encoder\."),
        *conv_rules(r"decoder\.p(5)\.", r"/pyramid/lateral\1/conv"),
        *conv_rules(r"decoder\.p(\d)\.skip_conv\.", r"/pyramid/lateral\1/conv"),
    ]
    for index, level in enumerate((5, 4, 3, 2)):
        block, path = rf"decoder\.seg_blocks\.{index}\.block\.(\d)\.block\.", rf"/p{level}_conv\1"
        rules.append(Rule(block + r"0\.weight", f"params{path}/conv/kernel", "conv"))
        rules.append(Rule(block + r"1\.weight", f"params{path}/norm/scale"))
        rules.append(Rule(block + r"1\.bias", f"params{path}/norm/bias"))
    return (*rules, *_HEAD)


def _deeplabv3plus_decoder_rules() -> tuple[Rule, ...]:
    return (
        *aspp_rules(r"decoder\.aspp\.0\.", "/aspp", separable=True),
        *separable_rules(r"decoder\.aspp\.1\.", r"decoder\.aspp\.2\.", "/pyramid_conv"),
        *conv_norm_rules(r"decoder\.block1\.0\.", r"decoder\.block1\.1\.", "/skip_conv"),
        *separable_rules(r"decoder\.block2\.0\.", r"decoder\.block2\.1\.", "/decoder_conv1"),
        *_HEAD,
    )
