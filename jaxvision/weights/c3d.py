"""Rules for C3D by the layer names of its PyTorch port."""

from jaxvision.weights.blocks import linear_rules
from jaxvision.weights.convert import Rule


def c3d_classifier_rules() -> tuple[Rule, ...]:
    """Rules from ``conv1``, ``conv2``, ``conv3a``, ..., ``fc8`` to ``jaxvision.backbones.C3DClassifier``.

    The names are those of the port of the Sports-1M weights that most PyTorch code reads. The weights are
    Caffe's and want clips in blue, green, red, of values from 0 to 255 less their mean.

    Returns:
      One rule a kind of tensor. The first fully connected layer reads a flattened map of 1x4x4: PyTorch
      flattens [C, T, H, W] and we flatten [T, H, W, C], so its inputs are reordered.

    >>> c3d_classifier_rules()[0].path
    'params/backbone/stage\\\\1_conv1/kernel'
    """
    rules: list[Rule] = []
    for key, layer in ((r"conv([12])\.", 1), (r"conv([345])a\.", 1), (r"conv([345])b\.", 2)):
        path = rf"params/backbone/stage\1_conv{layer}"
        rules.append(Rule(key + "weight", f"{path}/kernel", "conv3d"))
        rules.append(Rule(key + "bias", f"{path}/bias"))
    return (
        *rules,
        # One frame is left, so that the map is [C, H, W] to this layout.
        Rule(r"fc6\.weight", "params/fc6/kernel", "linear_after_flatten", (4, 4)),
        Rule(r"fc6\.bias", "params/fc6/bias"),
        *linear_rules(r"fc7\.", "/fc7"),
        *linear_rules(r"fc8\.", "/head"),
    )
