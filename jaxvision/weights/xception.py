"""Rules for the Xception weights that timm publishes: Chollet's net in Cadene's layout, and DeepLab's."""

from jaxvision.weights.blocks import conv_norm_rules, linear_rules
from jaxvision.weights.convert import Rule


def xception_backbone_rules(*, module: str = "/backbone") -> tuple[Rule, ...]:
    """Rules from timm's ``legacy_xception`` to the variables of ``jaxvision.backbones.Xception``.

    Args:
      module: path of the backbone inside the variables, with a leading slash; ``""`` for the backbone alone.

    Returns:
      One rule a kind of tensor.

    >>> xception_backbone_rules()[0].path
    'params/backbone/stem_conv\\\\1/conv/kernel'
    """
    path = rf"{module}/block\1"
    # The layers of a block are numbered with the ReLUs, and block 1 has none in front of its first one.
    first = {(0, 1): 1, (3, 4): 2}
    others = {(1, 2): 1, (4, 5): 2, (7, 8): 3}
    rules = [
        *conv_norm_rules(r"conv([12])\.", r"bn([12])\.", rf"{module}/stem_conv\1"),
        # Layers 3 and 4 are the first and second of the exit flow.
        *_separable_rules(r"conv3\.", r"bn3\.", f"{module}/exit_conv1"),
        *_separable_rules(r"conv4\.", r"bn4\.", f"{module}/exit_conv2"),
        *conv_norm_rules(r"block(\d+)\.skip\.", r"block(\d+)\.skipbn\.", f"{path}/shortcut"),
    ]
    for block, table in ((r"block(1)\.rep\.", first), (r"block([2-9]|1\d)\.rep\.", others)):
        for (conv, norm), index in table.items():
            rules += _separable_rules(rf"{block}{conv}\.", rf"{block}{norm}\.", f"{path}/conv{index}")
    return tuple(rules)


def xception_classifier_rules() -> tuple[Rule, ...]:
    """Rules from timm's ``legacy_xception`` to ``jaxvision.backbones.PooledClassifier`` over our Xception."""
    return (*xception_backbone_rules(), *linear_rules(r"fc\.", "/head"))


def aligned_xception_backbone_rules(*, module: str = "/backbone") -> tuple[Rule, ...]:
    """Rules from timm's ``xception41``, ``65`` and ``71`` to ``jaxvision.backbones.AlignedXception``.

    Args:
      module: path of the backbone inside the variables, with a leading slash; ``""`` for the backbone alone.

    Returns:
      One rule a kind of tensor.

    >>> aligned_xception_backbone_rules()[0].path
    'params/backbone/stem_conv1/conv/kernel'
    """
    rules: list[Rule] = []
    for index in (0, 1):
        stem = rf"stem\.{index}\."
        rules += conv_norm_rules(stem + r"conv\.", stem + r"bn\.", f"{module}/stem_conv{index + 1}")
    block, path = r"blocks\.(\d+)\.", rf"{module}/block\1"
    rules += conv_norm_rules(block + r"shortcut\.conv\.", block + r"shortcut\.bn\.", f"{path}/shortcut")
    for short, part in (("dw", "depthwise"), ("pw", "pointwise")):
        key = block + r"stack\.conv(\d)\."
        rules += conv_norm_rules(rf"{key}conv_{short}\.", rf"{key}bn_{short}\.", rf"{path}/conv\2/{part}")
    return tuple(rules)


def aligned_xception_classifier_rules() -> tuple[Rule, ...]:
    """Rules from timm's Aligned Xceptions to ``jaxvision.backbones.PooledClassifier`` over ours."""
    return (*aligned_xception_backbone_rules(), *linear_rules(r"head\.fc\.", "/head"))


def _separable_rules(conv: str, norm: str, path: str) -> tuple[Rule, ...]:
    """A depthwise convolution, and a pointwise one with the normalisation behind both."""
    return (
        Rule(conv + r"conv1\.weight", f"params{path}/depthwise/conv/kernel", "conv"),
        *conv_norm_rules(conv + r"pointwise\.", norm, f"{path}/pointwise"),
    )
