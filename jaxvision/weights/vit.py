"""Rules for the vision transformers of torchvision and of timm: a table each, for all variants."""

from jaxvision.weights.blocks import linear_rules
from jaxvision.weights.convert import Rule


def vit_classifier_rules() -> tuple[Rule, ...]:
    """Rules from torchvision's ViT to ``jaxvision.backbones.ViTClassifier``.

    The files of 2022 have ``mlp.linear_1`` and ``mlp.linear_2`` where later ones have ``mlp.0`` and
    ``mlp.3``; both are known.

    Returns:
      One rule a kind of tensor; they fit every variant of ``jaxvision.backbones.ViT``.

    >>> vit_classifier_rules()[0].path
    'params/backbone/class_token'
    """
    block, path = r"encoder\.layers\.encoder_layer_(\d+)\.", r"/backbone/block\1"
    attention = block + r"self_attention\."
    return (
        *_embedding_rules("class_token", r"conv_proj", r"encoder\.pos_embedding"),
        *_packed_rules(attention + "in_proj_weight", attention + "in_proj_bias", path),
        *linear_rules(attention + r"out_proj\.", f"{path}/attention/out"),
        *_norm_rules(block + r"ln_(\d)", rf"{path}/norm\2"),
        *linear_rules(block + r"mlp\.(?:0|linear_1)\.", f"{path}/mlp/hidden"),
        *linear_rules(block + r"mlp\.(?:3|linear_2)\.", f"{path}/mlp/out"),
        *_norm_rules(r"encoder\.ln", "/backbone/final_norm"),
        *linear_rules(r"heads\.head\.", "/head"),
    )


def vit_timm_rules() -> tuple[Rule, ...]:
    """Rules from timm's ViT to ``jaxvision.backbones.ViTClassifier``.

    ``fc_norm``, of timm's average pooling, becomes ``head_norm``.

    Returns:
      One rule a kind of tensor; they fit every variant of ``jaxvision.backbones.ViT``.
    """
    block, path = r"blocks\.(\d+)\.", r"/backbone/block\1"
    return (
        *_embedding_rules("cls_token", r"patch_embed\.proj", "pos_embed"),
        *_packed_rules(block + r"attn\.qkv\.weight", block + r"attn\.qkv\.bias", path),
        *linear_rules(block + r"attn\.proj\.", f"{path}/attention/out"),
        *_norm_rules(block + r"norm(\d)", rf"{path}/norm\2"),
        *linear_rules(block + r"mlp\.fc1\.", f"{path}/mlp/hidden"),
        *linear_rules(block + r"mlp\.fc2\.", f"{path}/mlp/out"),
        *_norm_rules("norm", "/backbone/final_norm"),
        *_norm_rules("fc_norm", "/head_norm"),
        *linear_rules(r"head\.", "/head"),
    )


def _embedding_rules(token: str, patches: str, positions: str) -> tuple[Rule, ...]:
    backbone = "params/backbone"
    tables = (f"{backbone}/positions/class_table", f"{backbone}/positions/table")
    return (
        Rule(token, f"{backbone}/class_token", "token"),
        Rule(patches + r"\.weight", f"{backbone}/patch_embed/kernel", "conv"),
        Rule(patches + r"\.bias", f"{backbone}/patch_embed/bias"),
        Rule(positions, tables, "class_and_grid_positions"),
    )


def _packed_rules(weight: str, bias: str, path: str) -> tuple[Rule, ...]:
    """Query, key and value, which both keep as one matrix."""
    projections = [f"params{path}/attention/{name}" for name in ("query", "key", "value")]
    return (
        Rule(weight, tuple(f"{projection}/kernel" for projection in projections), "packed_linear"),
        Rule(bias, tuple(f"{projection}/bias" for projection in projections), "packed_bias"),
    )


def _norm_rules(prefix: str, path: str) -> tuple[Rule, ...]:
    return Rule(prefix + r"\.weight", f"params{path}/scale"), Rule(prefix + r"\.bias", f"params{path}/bias")
