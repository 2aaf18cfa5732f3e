"""Rules for ResNet, ResNeXt, Wide ResNet and SE-ResNet weights of torchvision and timm: one table for all.

Both name tensors alike; squeeze-and-excitations, ``layer1.0.se.fc1``, are timm's.
"""

from jaxvision.weights.blocks import linear_rules, norm_rules, squeeze_rules
from jaxvision.weights.convert import Rule


def resnet_backbone_rules(*, module: str = "/backbone", prefix: str = "") -> tuple[Rule, ...]:
    """Rules from ``conv1``, ``bn1`` and ``layer1`` to ``layer4``, as there, to the backbone's variables.

    Args:
      module: path of the backbone inside the variables, with a leading slash; ``""`` for the backbone alone.
      prefix: regular expression of what stands before these names, such as ``r"encoder\\."``; no group.

    Returns:
      One rule a kind of tensor; they fit every variant of ``jaxvision.backbones.ResNet``.

    >>> resnet_backbone_rules()[0].path
    'params/backbone/stem_conv/kernel'
    """
    block, path = prefix + r"layer(\d+)\.(\d+)\.", rf"{module}/stage\1_block\2"
    return (
        Rule(prefix + r"conv1\.weight", f"params{module}/stem_conv/kernel", "conv"),
        *norm_rules(prefix + r"bn1\.", f"{module}/stem_norm"),
        Rule(block + r"conv(\d)\.weight", rf"params{path}/conv\3/kernel", "conv"),
        *norm_rules(block + r"bn(\d)\.", rf"{path}/norm\3"),
        Rule(block + r"downsample\.0\.weight", f"params{path}/shortcut_conv/kernel", "conv"),
        *norm_rules(block + r"downsample\.1\.", f"{path}/shortcut_norm"),
        *squeeze_rules(block + r"se\.fc1\.", block + r"se\.fc2\.", f"{path}/attention"),
    )


def resnet_classifier_rules() -> tuple[Rule, ...]:
    """Rules from those ResNets to ``jaxvision.backbones.PooledClassifier`` over our ResNet."""
    return (*resnet_backbone_rules(), *linear_rules(r"fc\.", "/head"))
