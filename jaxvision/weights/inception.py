"""Rules for the GoogLeNet and Inception-v3 weights that torchvision publishes."""

from jaxvision.weights.blocks import conv_norm_rules, linear_rules
from jaxvision.weights.convert import Rule

AUX_HEADS = (r"aux[12]\..*", r"AuxLogits\..*")
"""Patterns of the keys of heads that only training uses: a network without them has no place for these."""


def googlenet_backbone_rules(*, module: str = "/backbone") -> tuple[Rule, ...]:
    """Rules from torchvision's ``conv1`` to ``inception5b`` to the backbone's variables.

    Args:
      module: path of the backbone inside the variables, with a leading slash; ``""`` for the backbone alone.

    Returns:
      One rule a kind of tensor.

    >>> googlenet_backbone_rules()[0].path
    'params/backbone/conv\\\\1/conv/kernel'
    """
    block, path = r"inception(\d[a-z])\.", rf"{module}/inception\1"
    branches = {
        r"branch1\.": "branch1x1",
        r"branch2\.0\.": "reduce3x3",
        r"branch2\.1\.": "branch3x3",
        r"branch3\.0\.": "reduce5x5",
        r"branch3\.1\.": "branch5x5",
        r"branch4\.1\.": "pool_projection",
    }
    return (
        *_conv_rules(r"conv(\d)\.", rf"{module}/conv\1"),
        *(rule for key, name in branches.items() for rule in _conv_rules(block + key, f"{path}/{name}")),
    )


def googlenet_classifier_rules() -> tuple[Rule, ...]:
    """Rules from torchvision's GoogLeNet to ``jaxvision.backbones.GoogLeNetClassifier``.

    They hold the two auxiliary heads too: for a network without them give :data:`AUX_HEADS` to
    :func:`jaxvision.weights.convert` as ``ignore``.
    """
    return (
        *googlenet_backbone_rules(),
        *_conv_rules(r"aux([12])\.conv\.", r"/aux\1_head/conv"),
        # The 4x4 map in front of it is flattened.
        Rule(r"aux([12])\.fc1\.weight", r"params/aux\1_head/fc/kernel", "linear_after_flatten", (4, 4)),
        Rule(r"aux([12])\.fc1\.bias", r"params/aux\1_head/fc/bias"),
        *linear_rules(r"aux([12])\.fc2\.", r"/aux\1_head/head"),
        *linear_rules(r"fc\.", "/head"),
    )


def inception_v3_backbone_rules(*, module: str = "/backbone") -> tuple[Rule, ...]:
    """Rules from torchvision's ``Conv2d_1a_3x3`` to ``Mixed_7c`` to the backbone's variables.

    Args:
      module: path of the backbone inside the variables, with a leading slash; ``""`` for the backbone alone.

    Returns:
      One rule a kind of tensor.

    >>> inception_v3_backbone_rules()[0].path
    'params/backbone/conv_\\\\1/conv/kernel'
    """
    return (
        *_conv_rules(r"Conv2d_(\w+)\.", rf"{module}/conv_\1"),
        *_conv_rules(r"Mixed_(\w+)\.(branch\w+)\.", rf"{module}/mixed_\1/\2"),
    )


def inception_v3_classifier_rules() -> tuple[Rule, ...]:
    """Rules from torchvision's Inception-v3 to ``jaxvision.backbones.InceptionV3Classifier``.

    They hold the auxiliary head too, as those of GoogLeNet.
    """
    return (
        *inception_v3_backbone_rules(),
        *_conv_rules(r"AuxLogits\.(conv\d)\.", r"/aux_head/\1"),
        *linear_rules(r"AuxLogits\.fc\.", "/aux_head/head"),
        *linear_rules(r"fc\.", "/head"),
    )


def _conv_rules(prefix: str, path: str) -> tuple[Rule, ...]:
    """A convolution and its batch normalisation, or its bias where there is none, as in the paper's net."""
    bias = Rule(prefix + r"conv\.bias", f"params{path}/conv/bias")
    return (*conv_norm_rules(prefix + r"conv\.", prefix + r"bn\.", path), bias)
