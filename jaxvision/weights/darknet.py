"""Rules for the Darknet-53 weights that timm publishes."""

from jaxvision.weights.blocks import conv_norm_rules, linear_rules, norm_rules
from jaxvision.weights.convert import Rule

_STAGES = 5


def darknet_backbone_rules(*, module: str = "/backbone") -> tuple[Rule, ...]:
    """Rules from timm's ``stem`` and ``stages`` to the variables of ``jaxvision.backbones.Darknet``.

    Args:
      module: path of the backbone inside the variables, with a leading slash; ``""`` for the backbone alone.

    Returns:
      One rule a kind of tensor and stage.

    >>> darknet_backbone_rules()[0].path
    'params/backbone/stem/conv/kernel'
    """
    rules = list(_unit_rules(r"stem\.conv1\.", f"{module}/stem"))
    for index in range(_STAGES):
        key, path = rf"stages\.{index}\.", f"{module}/stage{index + 1}_"
        rules += _unit_rules(key + r"conv_down\.", f"{path}down")
        layer, block = key + r"blocks\.(\d+)\.conv(\d)\.", rf"{path}block\1"
        rules.append(Rule(layer + r"conv\.weight", rf"params{block}/conv\2/kernel", "conv"))
        rules += norm_rules(layer + r"bn\.", rf"{block}/norm\2")
    return tuple(rules)


def darknet_classifier_rules() -> tuple[Rule, ...]:
    """Rules from timm's Darknet-53 to ``jaxvision.backbones.PooledClassifier`` over our Darknet."""
    return (*darknet_backbone_rules(), *linear_rules(r"head\.fc\.", "/head"))


def _unit_rules(prefix: str, path: str) -> tuple[Rule, ...]:
    return conv_norm_rules(prefix + r"conv\.", prefix + r"bn\.", path)
