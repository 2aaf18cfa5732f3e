"""Rules for the ResNet, ResNeXt and Wide ResNet weights that torchvision publishes: one table for all."""

from jaxvision.weights.convert import Rule


def resnet_backbone_rules(*, module: str = "/backbone") -> tuple[Rule, ...]:
    """Rules from torchvision's ``conv1``, ``bn1`` and ``layer1`` to ``layer4`` to the backbone's variables.

    Args:
      module: path of the backbone inside the variables, with a leading slash; ``""`` for the backbone alone.

    Returns:
      One rule a kind of tensor; they fit every variant of ``jaxvision.backbones.ResNet``.

    >>> resnet_backbone_rules()[0].path
    'params/backbone/stem_conv/kernel'
    """
    block, path = r"layer(\d+)\.(\d+)\.", rf"{module}/stage\1_block\2"
    return (
        Rule(r"conv1\.weight", f"params{module}/stem_conv/kernel", "conv"),
        *_norm_rules(r"bn1\.", f"{module}/stem_norm"),
        Rule(block + r"conv(\d)\.weight", rf"params{path}/conv\3/kernel", "conv"),
        *_norm_rules(block + r"bn(\d)\.", rf"{path}/norm\3"),
        Rule(block + r"downsample\.0\.weight", f"params{path}/shortcut_conv/kernel", "conv"),
        *_norm_rules(block + r"downsample\.1\.", f"{path}/shortcut_norm"),
    )


def resnet_classifier_rules() -> tuple[Rule, ...]:
    """Rules from torchvision's ResNets to ``jaxvision.backbones.PooledClassifier`` over our ResNet."""
    return (
        *resnet_backbone_rules(),
        Rule(r"fc\.weight", "params/head/kernel", "linear"),
        Rule(r"fc\.bias", "params/head/bias"),
    )


def _norm_rules(prefix: str, path: str) -> tuple[Rule, ...]:
    return (
        Rule(prefix + "weight", f"params{path}/scale"),
        Rule(prefix + "bias", f"params{path}/bias"),
        Rule(prefix + "running_mean", f"batch_stats{path}/mean"),
        Rule(prefix + "running_var", f"batch_stats{path}/var"),
    )
