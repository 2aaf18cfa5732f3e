"""Rules for the NFNet weights that timm publishes, DeepMind's among them: one table for all."""

from jaxvision.weights.convert import Rule


def nfnet_timm_rules() -> tuple[Rule, ...]:
    """Rules from timm's NFNet-F to ``jaxvision.backbones.NFNetClassifier``.

    Returns:
      One rule a kind of tensor; they fit every variant of ``jaxvision.backbones.NFNet``.

    >>> nfnet_timm_rules()[-1].path
    'params/head/bias'
    """
    # timm counts stages from 0.
    stages = [
        (rf"stages\.{stage}\.(\d+)\.", rf"params/backbone/stage{stage + 1}_block\1") for stage in range(4)
    ]
    return (
        *_conv_rules(r"stem\.conv(\d)", r"params/backbone/stem_conv\1"),
        *(rule for prefix, path in stages for rule in _block_rules(prefix, path)),
        *_conv_rules("final_conv", "params/final_conv"),
        Rule(r"head\.fc\.weight", "params/head/kernel", "linear"),
        Rule(r"head\.fc\.bias", "params/head/bias"),
    )


def _block_rules(prefix: str, path: str) -> tuple[Rule, ...]:
    return (
        Rule(prefix + "skipinit_gain", f"{path}/skip_gain"),
        *_conv_rules(prefix + r"downsample\.conv", f"{path}/shortcut_conv"),
        *_conv_rules(prefix + r"(conv\w+)", rf"{path}/\2"),
        Rule(prefix + r"attn_last\.fc1\.weight", f"{path}/attention/reduce_conv/kernel", "conv"),
        Rule(prefix + r"attn_last\.fc1\.bias", f"{path}/attention/reduce_conv/bias"),
        Rule(prefix + r"attn_last\.fc2\.weight", f"{path}/attention/expand_conv/kernel", "conv"),
        Rule(prefix + r"attn_last\.fc2\.bias", f"{path}/attention/expand_conv/bias"),
    )


def _conv_rules(prefix: str, path: str) -> tuple[Rule, ...]:
    """A convolution with a standardised kernel."""
    return (
        Rule(prefix + r"\.weight", f"{path}/kernel", "conv"),
        Rule(prefix + r"\.bias", f"{path}/bias"),
        Rule(prefix + r"\.gain", f"{path}/gain", "gain"),
    )
