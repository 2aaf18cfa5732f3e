"""Rules for weights of segmentation_models.pytorch on its ResNet encoders, which torchvision names.

They fit every ResNet and ResNeXt, and decoders with and without its attention "scse".
"""

from jaxvision.weights.blocks import conv_norm_rules, squeeze_rules
from jaxvision.weights.convert import Rule
from jaxvision.weights.resnet import resnet_backbone_rules

SMP_UNUSED = (r"decoder\.blocks\.(\d+|x_\d+_\d+)\.attention1\..*",)
"""Attention in front of a join that there is not: smp makes it, but never runs it. To be ignored."""


def smp_unet_rules() -> tuple[Rule, ...]:
    """Rules from ``Unet`` to ``jaxvision.segmentation.BackboneUNet`` over our ResNet.

    >>> smp_unet_rules()[-2].path
    'params/head/kernel'
    """
    return (*_encoder_rules(), *_block_rules(r"decoder\.blocks\.(\d+)\.", r"/decoder_block\1"), *_HEAD)


def smp_unetplusplus_rules() -> tuple[Rule, ...]:
    """Rules from ``UnetPlusPlus`` to ``jaxvision.segmentation.UNetPlusPlus`` over our ResNet.

    >>> smp_unetplusplus_rules()[-2].path
    'params/head/kernel'
    """
    block, path = r"decoder\.blocks\.x_(\d+)_(\d+)\.", r"/node_\1_\2"
    return (*_encoder_rules(), *_block_rules(block, path, groups=2), *_HEAD)


def smp_linknet_rules() -> tuple[Rule, ...]:
    """Rules from ``Linknet`` to ``jaxvision.segmentation.LinkNet`` over our ResNet.

    >>> smp_linknet_rules()[-2].path
    'params/head/kernel'
    """
    block, path = r"decoder\.blocks\.(\d+)\.block\.", r"/decoder_block\1"
    upsample, ours = block + r"1\.", f"{path}/upsample"
    return (
        *_encoder_rules(),
        *conv_norm_rules(block + r"0\.0\.", block + r"0\.1\.", f"{path}/reduce"),
        *conv_norm_rules(upsample + r"0\.", upsample + r"1\.", ours, layout="transposed_conv"),
        Rule(upsample + r"0\.bias", f"params{ours}/conv/bias"),
        *conv_norm_rules(block + r"2\.0\.", block + r"2\.1\.", f"{path}/expand"),
        *_HEAD,
    )


_HEAD = (
    Rule(r"segmentation_head\.0\.weight", "params/head/kernel", "conv"),
    Rule(r"segmentation_head\.0\.bias", "params/head/bias"),
)


def _encoder_rules() -> tuple[Rule, ...]:
    return resnet_backbone_rules(prefix=r"encoder\.")


def _block_rules(block: str, path: str, *, groups: int = 1) -> list[Rule]:
    """Rules of ``UpsampleBlock``; ``groups`` is how many the pattern ``block`` has."""
    number = groups + 1
    conv, ours = block + r"conv(\d)\.", rf"{path}/conv\{number}"
    attention, its = block + r"attention(\d)\.attention\.", rf"{path}/attention\{number}"
    rules = [*conv_norm_rules(conv + r"0\.", conv + r"1\.", ours)]
    # Without a normalisation the convolutions have a bias.
    rules.append(Rule(conv + r"0\.bias", f"params{ours}/conv/bias"))
    rules += squeeze_rules(attention + r"cSE\.1\.", attention + r"cSE\.3\.", f"{its}/channel")
    spatial = attention + r"sSE\.0\."
    rules.append(Rule(spatial + "weight", f"params{its}/spatial_conv/kernel", "conv"))
    rules.append(Rule(spatial + "bias", f"params{its}/spatial_conv/bias"))
    return rules
