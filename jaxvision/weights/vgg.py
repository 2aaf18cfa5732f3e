"""Rules for the VGG weights that torchvision publishes, and for FCN's surgery on them.

torchvision numbers the layers of ``features`` through, activations and pooling included; ours are named by
stage, so the table is written for one sequence of stages.
"""

from collections.abc import Sequence

from jaxvision.weights.convert import Rule

# The last pooling stage gives 7x7 maps at 224x224, which the first fully connected layer flattens.
_FLATTENED = (7, 7)


def vgg_backbone_rules(
    convolutions: Sequence[int], *, use_norm: bool = False, module: str = "/backbone"
) -> tuple[Rule, ...]:
    """Rules from torchvision's ``features.*`` to the backbone's variables.

    Args:
      convolutions: number of convolutions of each stage, as in ``jaxvision.backbones.VGG``.
      use_norm: whether a batch norm follows each convolution (the ``_bn`` variants).
      module: path of the backbone inside the variables, with a leading slash; ``""`` for the backbone alone.

    Returns:
      One rule a tensor.

    >>> vgg_backbone_rules([1])[0].path
    'params/backbone/stage1_conv1/kernel'
    """
    rules: list[Rule] = []
    index = 0
    for stage, count in enumerate(convolutions, start=1):
        for layer in range(1, count + 1):
            conv = f"params{module}/stage{stage}_conv{layer}"
            rules.append(Rule(rf"features\.{index}\.weight", f"{conv}/kernel", "conv"))
            rules.append(Rule(rf"features\.{index}\.bias", f"{conv}/bias"))
            index += 1
            if use_norm:
                norm = f"{module}/stage{stage}_norm{layer}"
                rules.append(Rule(rf"features\.{index}\.weight", f"params{norm}/scale"))
                rules.append(Rule(rf"features\.{index}\.bias", f"params{norm}/bias"))
                rules.append(Rule(rf"features\.{index}\.running_mean", f"batch_stats{norm}/mean"))
                rules.append(Rule(rf"features\.{index}\.running_var", f"batch_stats{norm}/var"))
                index += 1
            index += 1  # the ReLU
        index += 1  # the pooling
    return tuple(rules)


def vgg_classifier_rules(convolutions: Sequence[int], *, use_norm: bool = False) -> tuple[Rule, ...]:
    """Rules from torchvision's VGG to ``jaxvision.backbones.VGGClassifier``.

    The first fully connected layer reads a flattened map: PyTorch flattens [C, H, W] and we flatten
    [H, W, C], so its inputs are reordered.
    """
    return (
        *vgg_backbone_rules(convolutions, use_norm=use_norm),
        Rule(r"classifier\.0\.weight", "params/fc6/kernel", "linear_after_flatten", _FLATTENED),
        Rule(r"classifier\.3\.weight", "params/fc7/kernel", "linear"),
        Rule(r"classifier\.6\.weight", "params/head/kernel", "linear"),
        Rule(r"classifier\.0\.bias", "params/fc6/bias"),
        Rule(r"classifier\.3\.bias", "params/fc7/bias"),
        Rule(r"classifier\.6\.bias", "params/head/bias"),
    )
