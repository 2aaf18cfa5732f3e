"""Rules for the R3D, MC3 and R(2+1)D weights that torchvision publishes: one table for all."""

from jaxvision.weights.blocks import linear_rules, norm_rules
from jaxvision.weights.convert import Rule


def video_resnet_backbone_rules(*, module: str = "/backbone") -> tuple[Rule, ...]:
    """Rules from torchvision's ``stem`` and ``layer1`` to ``layer4`` to the backbone's variables.

    Args:
      module: path of the backbone inside the variables, with a leading slash; ``""`` for the backbone alone.

    Returns:
      One rule a kind of tensor; they fit every variant of ``jaxvision.backbones.VideoResNet``.

    >>> video_resnet_backbone_rules()[0].path
    'params/backbone/stem_conv/kernel'
    """
    block, path = r"layer(\d+)\.(\d+)\.", rf"{module}/stage\1_block\2"
    return (
        Rule(r"stem\.0\.weight", f"params{module}/stem_conv/kernel", "conv3d"),
        *norm_rules(r"stem\.1\.", f"{module}/stem_norm"),
        # Layers 3 and 4 are there in the two steps of R(2+1)D's stem.
        Rule(r"stem\.3\.weight", f"params{module}/stem_temporal_conv/kernel", "conv3d"),
        *norm_rules(r"stem\.4\.", f"{module}/stem_temporal_norm"),
        Rule(block + r"conv(\d)\.0\.weight", rf"params{path}/conv\3/kernel", "conv3d"),
        *norm_rules(block + r"conv(\d)\.1\.", rf"{path}/norm\3"),
        # A (2+1)D convolution is a sequence of its own: convolution, normalisation, ReLU, convolution.
        Rule(block + r"conv(\d)\.0\.0\.weight", rf"params{path}/conv\3/spatial/kernel", "conv3d"),
        *norm_rules(block + r"conv(\d)\.0\.1\.", rf"{path}/conv\3/norm"),
        Rule(block + r"conv(\d)\.0\.3\.weight", rf"params{path}/conv\3/temporal/kernel", "conv3d"),
        Rule(block + r"downsample\.0\.weight", f"params{path}/shortcut_conv/kernel", "conv3d"),
        *norm_rules(block + r"downsample\.1\.", f"{path}/shortcut_norm"),
    )


def video_resnet_classifier_rules() -> tuple[Rule, ...]:
    """Rules from those networks to ``jaxvision.backbones.PooledClassifier`` over our VideoResNet."""
    return (*video_resnet_backbone_rules(), *linear_rules(r"fc\.", "/head"))
