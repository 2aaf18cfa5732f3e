"""Rules for what most families are built of: convolutions, normalisations, linear layers, excitations."""

from jaxvision.weights.convert import Rule


def norm_rules(prefix: str, path: str) -> tuple[Rule, ...]:
    """Rules for ``torch.nn.BatchNorm2d``.

    Args:
      prefix: regular expression of its name, with the dot: ``r"bn1\\."``.
      path: of our ``BatchNorm``, with a leading slash; ``\\1`` stands for a group of the prefix.

    Returns:
      Rules for scale, bias and the two running statistics.

    >>> [rule.path for rule in norm_rules(r"bn1\\.", "/stem_norm")][:2]
    ['params/stem_norm/scale', 'params/stem_norm/bias']
    """
    return (
        Rule(prefix + "weight", f"params{path}/scale"),
        Rule(prefix + "bias", f"params{path}/bias"),
        Rule(prefix + "running_mean", f"batch_stats{path}/mean"),
        Rule(prefix + "running_var", f"batch_stats{path}/var"),
    )


def conv_norm_rules(conv: str, norm: str, path: str, *, layout: str = "conv") -> tuple[Rule, ...]:
    """Rules for a convolution without bias and its batch normalisation, our ``ConvNormAct``.

    Args:
      conv: regular expression of the convolution's name, with the dot.
      norm: that of the normalisation, with the same groups.
      path: of our ``ConvNormAct``, with a leading slash; ``\\1`` stands for a group of the names.
      layout: of the kernel: ``"transposed_conv"`` for our ``ConvTransposeNormAct``.

    Returns:
      Five rules.

    >>> conv_norm_rules(r"conv_stem\\.", r"bn1\\.", "/stem")[0].path
    'params/stem/conv/kernel'
    """
    return (Rule(conv + "weight", f"params{path}/conv/kernel", layout), *norm_rules(norm, f"{path}/norm"))


def conv_rules(prefix: str, path: str) -> tuple[Rule, Rule]:
    """Rules for ``torch.nn.Conv2d`` with a bias.

    Args:
      prefix: regular expression of its name, with the dot.
      path: of our ``Conv``, with a leading slash.

    Returns:
      Rules for kernel and bias.

    >>> conv_rules(r"classifier\\.4\\.", "/head")[0].path
    'params/head/kernel'
    """
    return (
        Rule(prefix + "weight", f"params{path}/kernel", "conv"),
        Rule(prefix + "bias", f"params{path}/bias"),
    )


def squeeze_rules(reduce: str, expand: str, path: str) -> tuple[Rule, ...]:
    """Rules for the two convolutions of a squeeze-and-excitation.

    Args:
      reduce: regular expression of the first one's name, with the dot.
      expand: that of the second one's, with the same groups.
      path: of our ``SqueezeExcitation``, with a leading slash; ``\\1`` stands for a group of the names.

    Returns:
      Four rules.

    >>> squeeze_rules(r"fc1\\.", r"fc2\\.", "/attention")[0].path
    'params/attention/reduce_conv/kernel'
    """
    rules: list[Rule] = []
    for prefix, name in ((reduce, "reduce_conv"), (expand, "expand_conv")):
        rules.append(Rule(prefix + "weight", f"params{path}/{name}/kernel", "conv"))
        rules.append(Rule(prefix + "bias", f"params{path}/{name}/bias"))
    return tuple(rules)


def linear_rules(prefix: str, path: str) -> tuple[Rule, Rule]:
    """Rules for ``torch.nn.Linear``.

    Args:
      prefix: regular expression of its name, with the dot.
      path: of our ``Dense``, with a leading slash.

    Returns:
      Rules for kernel and bias.

    >>> linear_rules(r"fc\\.", "/head")[0].path
    'params/head/kernel'
    """
    return (
        Rule(prefix + "weight", f"params{path}/kernel", "linear"),
        Rule(prefix + "bias", f"params{path}/bias"),
    )
