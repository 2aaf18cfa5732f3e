"""Runs the cases of ``modern_cases`` in PyTorch. Import only where torch, torchvision and timm are."""

from typing import Any

from oracles.modern_cases import Case
from oracles.network_cases import seeded_images
from oracles.torch_cifar_resnet import CifarResNet
from oracles.torch_run import model_outputs
from torch import nn


def torch_model(case: Case) -> nn.Module:
    fields = dict(case.fields)
    if case.family == "cifar":
        option = {"zeros": "A", "projection": "B"}[fields.get("shortcut", "zeros")]
        return CifarResNet(fields["blocks"], fields["features"], num_classes=case.classes, option=option)
    if case.family == "nfnet":
        return _nfnet(case)
    if case.family == "vit":
        from torchvision.models import VisionTransformer

        return VisionTransformer(
            fields["image_size"],
            fields["patch_size"],
            fields["depth"],
            fields["num_heads"],
            fields["features"],
            fields["mlp_features"],
            num_classes=case.classes,
        )
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        fields["image_size"],
        fields["patch_size"],
        num_classes=case.classes,
        global_pool="avg" if case.head else "token",
        embed_dim=fields["features"],
        depth=fields["depth"],
        num_heads=fields["num_heads"],
        mlp_ratio=fields["mlp_features"] / fields["features"],
        dynamic_img_size=True,
    )


def _nfnet(case: Case) -> nn.Module:
    from timm.models.nfnet import NfCfg, NormFreeNet

    fields = case.fields
    config = NfCfg(
        fields["blocks"],
        fields["features"],
        stem_type="deep_quad",
        stem_chs=fields["stem_features"],
        group_size=fields["group_size"],
        attn_layer="se",
        attn_kwargs={"rd_ratio": 0.5},
        num_features=2 * fields["features"][-1],
        extra_conv=True,
        gamma_in_act=not fields.get("gain_in_conv", False),
        same_padding=fields.get("same_padding", True),
        skipinit=fields.get("use_skip_gain", True),
        act_layer="gelu",
    )
    return NormFreeNet(config, num_classes=case.classes)


def torch_outputs(case: Case) -> dict[str, Any]:
    """As ``torch_run.torch_outputs``."""
    return model_outputs(torch_model(case), seeded_images(case))
