"""Rules for the segmentation networks that torchvision publishes: FCN, DeepLabV3 and LR-ASPP."""

from collections.abc import Sequence

from jaxvision.weights.blocks import conv_norm_rules, conv_rules
from jaxvision.weights.convert import Rule
from jaxvision.weights.mobilenet import Parts, mobilenet_v3_backbone_rules
from jaxvision.weights.resnet import resnet_backbone_rules

AUX_CLASSIFIER = (r"aux_classifier\..*",)
"""Patterns of the keys of a head that only training uses: a network without it has no place for them."""


def fcn_resnet_rules() -> tuple[Rule, ...]:
    """Rules from torchvision's FCN to ``jaxvision.segmentation.DilatedFCN`` over our ResNet.

    They hold the auxiliary head too: for a network without it give :data:`AUX_CLASSIFIER` to
    :func:`jaxvision.weights.convert` as ``ignore``.

    Returns:
      One rule a kind of tensor; they fit every ResNet.

    >>> fcn_resnet_rules()[-1].path
    'params/aux_head/head/bias'
    """
    heads = (*_fcn_head_rules(r"classifier\.", ""), *_fcn_head_rules(r"aux_classifier\.", "/aux_head"))
    return (*resnet_backbone_rules(prefix=r"backbone\."), *heads)


def deeplabv3_resnet_rules() -> tuple[Rule, ...]:
    """Rules from torchvision's DeepLabV3 to ``jaxvision.segmentation.DeepLabV3`` over our ResNet.

    They hold the auxiliary head too, as :func:`fcn_resnet_rules`.

    Returns:
      One rule a kind of tensor; they fit every ResNet.

    >>> deeplabv3_resnet_rules()[-1].path
    'params/aux_head/head/bias'
    """
    return (*resnet_backbone_rules(prefix=r"backbone\."), *_deeplab_head_rules())


def deeplabv3_mobilenet_v3_rules(parts: Parts) -> tuple[Rule, ...]:
    """Rules from torchvision's DeepLabV3 to ``jaxvision.segmentation.DeepLabV3`` over our MobileNetV3.

    They hold the auxiliary head too, as :func:`fcn_resnet_rules`.

    Args:
      parts: of each block of each stage the names of its submodules.

    Returns:
      The rules of the variant with these blocks.

    >>> deeplabv3_mobilenet_v3_rules([[("depthwise", "project")]])[-1].path
    'params/aux_head/head/bias'
    """
    return (*mobilenet_v3_backbone_rules(parts, prefix=r"backbone\."), *_deeplab_head_rules())


def lraspp_mobilenet_v3_rules(parts: Parts) -> tuple[Rule, ...]:
    """Rules from torchvision's LR-ASPP to ``jaxvision.segmentation.LRASPP`` over our MobileNetV3.

    Args:
      parts: of each block of each stage the names of its submodules.

    Returns:
      The rules of the variant with these blocks.

    >>> lraspp_mobilenet_v3_rules([[("depthwise", "project")]])[-1].path
    'params/head/bias'
    """
    return (
        *mobilenet_v3_backbone_rules(parts, prefix=r"backbone\."),
        *conv_norm_rules(r"classifier\.cbr\.0\.", r"classifier\.cbr\.1\.", "/conv"),
        Rule(r"classifier\.scale\.1\.weight", "params/gate_conv/kernel", "conv"),
        *conv_rules(r"classifier\.low_classifier\.", "/skip_head"),
        *conv_rules(r"classifier\.high_classifier\.", "/head"),
    )


def separable_rules(convs: str, norm: str, path: str) -> tuple[Rule, ...]:
    """Rules for a depthwise and a pointwise convolution with one normalisation behind both.

    Args:
      convs: regular expression of the name of the sequence of the two, with the dot.
      norm: that of the normalisation, with the same groups.
      path: of our ``SeparableConv`` of order ``"joint"``, with a leading slash.

    Returns:
      Six rules.

    >>> separable_rules(r"block\\.0\\.", r"block\\.1\\.", "/conv")[0].path
    'params/conv/depthwise/conv/kernel'
    """
    return (
        Rule(convs + r"0\.weight", f"params{path}/depthwise/conv/kernel", "conv"),
        *conv_norm_rules(convs + r"1\.", norm, f"{path}/pointwise"),
    )


def aspp_rules(prefix: str, path: str, *, separable: bool = False) -> tuple[Rule, ...]:
    """Rules for an ASPP of torchvision or segmentation_models.pytorch, with three dilated convolutions.

    Args:
      prefix: regular expression of its name, with the dot; no group.
      path: of our ``ASPP``, with a leading slash.
      separable: whether the dilated convolutions are depthwise separable, of order ``"joint"``.

    Returns:
      One rule a kind of tensor.

    >>> aspp_rules(r"classifier\\.0\\.", "/aspp")[0].path
    'params/aspp/branch0/conv/kernel'
    """
    dilated: Sequence[Rule] = conv_norm_rules(
        prefix + r"convs\.([1-3])\.0\.", prefix + r"convs\.([1-3])\.1\.", rf"{path}/branch\1"
    )
    if separable:
        window = prefix + r"convs\.([1-3])\."
        dilated = separable_rules(window + r"0\.", window + r"1\.", rf"{path}/branch\1")
    return (
        *conv_norm_rules(prefix + r"convs\.0\.0\.", prefix + r"convs\.0\.1\.", f"{path}/branch0"),
        *dilated,
        # In front of them is the pooling.
        *conv_norm_rules(prefix + r"convs\.4\.1\.", prefix + r"convs\.4\.2\.", f"{path}/pool"),
        *conv_norm_rules(prefix + r"project\.0\.", prefix + r"project\.1\.", f"{path}/project"),
    )


def _deeplab_head_rules() -> tuple[Rule, ...]:
    return (
        *aspp_rules(r"classifier\.0\.", "/aspp"),
        *conv_norm_rules(r"classifier\.1\.", r"classifier\.2\.", "/conv"),
        *conv_rules(r"classifier\.4\.", "/head"),
        *_fcn_head_rules(r"aux_classifier\.", "/aux_head"),
    )


def _fcn_head_rules(prefix: str, path: str) -> tuple[Rule, ...]:
    """torchvision's ``FCNHead``: convolution, normalisation, ReLU, dropout, convolution."""
    head = conv_rules(prefix + r"4\.", f"{path}/head")
    return (*conv_norm_rules(prefix + r"0\.", prefix + r"1\.", f"{path}/conv"), *head)
