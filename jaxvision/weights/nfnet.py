"""Rules for the NFNet weights that timm publishes, DeepMind's among them: one table for all."""

from jaxvision.weights.blocks import linear_rules, squeeze_rules
from jaxvision.weights.convert import Rule


def nfnet_timm_rules() -> tuple[Rule, ...]:
    """Rules from timm's NFNet-F to ``jaxvision.backbones.NFNetClassifier``.

    Returns:
      One rule a kind of tensor; they fit every variant of ``jaxvision.backbones.NFNet``.

    >>> nfnet_timm_rules()[-1].path
    'params/head/bias'
    """
    # timm counts stages from 0.
    stages = [(rf"stages\.{stage}\.(\d+)\.", rf"/backbone/stage{stage + 1}_block\1") for stage in range(4)]
    return (
        *_conv_rules(r"stem\.conv(\d)", r"/backbone/stem_conv\1"),
        *(rule for prefix, path in stages for rule in _block_rules(prefix, path)),
        *_conv_rules("final_conv", "/final_conv"),
        *linear_rules(r"head\.fc\.", "/head"),
    )


def _block_rules(prefix: str, path: str) -> tuple[Rule, ...]:
    return (
        Rule(prefix + "skipinit_gain", f"params{path}/skip_gain"),
        *_conv_rules(prefix + r"downsample\.conv", f"{path}/shortcut_conv"),
        *_conv_rules(prefix + r"(conv\w+)", rf"{path}/\2"),
        *squeeze_rules(prefix + r"attn_last\.fc1\.", prefix + r"attn_last\.fc2\.", f"{path}/attention"),
    )


def _conv_rules(prefix: str, path: str) -> tuple[Rule, ...]:
    """A convolution with a standardised kernel."""
    return (
        Rule(prefix + r"\.weight", f"params{path}/kernel", "conv"),
        Rule(prefix + r"\.bias", f"params{path}/bias"),
        Rule(prefix + r"\.gain", f"params{path}/gain", "gain"),
    )
