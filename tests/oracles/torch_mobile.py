"""The cases of ``mobile_cases`` in PyTorch, and whole networks live. Import only where torch and timm are."""

import functools
import math
from typing import Any

import numpy as np
import timm
import torch
import torchvision
from oracles.mobile_cases import Case
from oracles.network_cases import seeded_images
from oracles.torch_run import calibrated_state, channels_last, model_outputs
from timm.models import efficientnet as timm_efficientnet
from timm.models._efficientnet_builder import decode_arch_def, round_channels
from torch import nn
from torchvision.models import efficientnet, mobilenetv2, mobilenetv3

from jaxvision.backbones import EfficientNet, MobileNetV1, MobileNetV2, MobileNetV3, ResNet

# timm's own description of the stages, as its builders of EfficientNet, MobileNetV2 and MobileNet V1 have it.
_B0 = ["ds_r1_k3_s1_e1_c16", "ir_r2_k3_s2_e6_c24", "ir_r2_k5_s2_e6_c40", "ir_r3_k3_s2_e6_c80"]
_B0 += ["ir_r3_k5_s1_e6_c112", "ir_r4_k5_s2_e6_c192", "ir_r1_k3_s1_e6_c320"]
_V2 = ["ds_r1_k3_s1_c16", "ir_r2_k3_s2_e6_c24", "ir_r3_k3_s2_e6_c32", "ir_r4_k3_s2_e6_c64"]
_V2 += ["ir_r3_k3_s1_e6_c96", "ir_r3_k3_s2_e6_c160", "ir_r1_k3_s1_e6_c320"]
_V1 = ["dsa_r1_k3_s1_c64", "dsa_r2_k3_s2_c128", "dsa_r2_k3_s2_c256", "dsa_r6_k3_s2_c512"]
_V1 += ["dsa_r2_k3_s2_c1024"]


def torch_model(case: Case) -> nn.Module:
    body = case.backbone
    if case.source == "efficientnet_lite_pytorch":
        return _package_efficientnet(case)
    if isinstance(body, ResNet):
        return timm.models.resnet.ResNet(
            timm.models.resnet.BasicBlock,
            list(body.blocks),
            case.classes,
            channels=body.features,
            block_args={"attn_layer": "se"},
        )
    if case.source == "timm":
        return _timm_model(case)
    if isinstance(body, MobileNetV2):
        rows = [row.split("_") for row in _V2]
        counts = [math.ceil(int(row[1][1:]) * body.depth) for row in rows]
        settings = [
            [1 if row[0] == "ds" else 6, int(row[-1][1:]), count, int(row[3][1:])]
            for row, count in zip(rows, counts, strict=True)
        ]
        return mobilenetv2.MobileNetV2(case.classes, body.width, settings, dropout=0.0)
    if isinstance(body, MobileNetV3):
        arch = "mobilenet_v3_large" if body.hidden_features == 1280 else "mobilenet_v3_small"
        settings, last = mobilenetv3._mobilenet_v3_conf(arch, width_mult=body.width)
        return mobilenetv3.MobileNetV3(settings, last, case.classes, dropout=0.0)
    assert isinstance(body, EfficientNet)
    settings, last = efficientnet._efficientnet_conf(
        "efficientnet_b0", width_mult=body.width, depth_mult=body.depth
    )
    return efficientnet.EfficientNet(
        settings, 0.0, 0.0, num_classes=case.classes, norm_layer=_norm_layer(body), last_channel=last
    )


def _norm_layer(body: Any) -> Any:
    norm = body.norm()
    return functools.partial(nn.BatchNorm2d, eps=norm.epsilon, momentum=norm.momentum)


def _timm_model(case: Case) -> nn.Module:
    body = case.backbone
    stages, act, head = _V2, nn.ReLU6, case.head.get("features", (0,))[0]
    if isinstance(body, MobileNetV1):
        stages = _V1
    elif isinstance(body, EfficientNet):
        act = nn.ReLU6 if not body.squeeze else nn.SiLU
        stages = [f"{stage}_se0.25" for stage in _B0] if body.squeeze else _B0
        head = head or round_channels(1280, body.width)
    fixed = not getattr(body, "scale_ends", True)
    return timm_efficientnet.EfficientNet(
        decode_arch_def([[stage] for stage in stages], getattr(body, "depth", 1.0), fix_first_last=fixed),
        num_classes=case.classes,
        num_features=head,
        fix_stem=fixed,
        round_chs_fn=functools.partial(round_channels, multiplier=body.width),
        pad_type="same" if body.padding == "tensorflow" else "",
        act_layer=act,
        norm_layer=_norm_layer(body),
    )


def _package_efficientnet(case: Case) -> nn.Module:
    """The class of EfficientNet-PyTorch, from a package that has it beside EfficientNet-Lite."""
    from efficientnet_lite_pytorch import EfficientNet as Theirs
    from efficientnet_lite_pytorch.utils import efficientnet as describe

    body = case.backbone
    blocks, fields = describe(
        body.width, body.depth, list(case.shape[1:3]), 0.0, 0.0, num_classes=case.classes
    )
    # Its strides are lists, which it compares with 1 to tell whether to add a block's input. At full width no
    # block with such a list has as many inputs as outputs; at ours some have.
    return Theirs([block._replace(stride=np.ravel(block.stride)[0].item()) for block in blocks], fields)


def torch_outputs(case: Case) -> dict[str, Any]:
    return model_outputs(torch_model(case), seeded_images(case))


def live_model(library: str, name: str) -> nn.Module:
    return timm.create_model(name) if library == "timm" else torchvision.models.get_model(name, weights=None)


def live_state(library: str, name: str) -> tuple[dict[str, np.ndarray], int]:
    """Zeros of the shapes of a network's state, by name, and its number of parameters."""
    with torch.device("meta"):
        model = live_model(library, name)
    state = {key: np.zeros(value.shape, np.float32) for key, value in model.state_dict().items()}
    return state, sum(parameter.numel() for parameter in model.parameters())


def live_outputs(library: str, name: str, levels: list[str], images: np.ndarray) -> Any:
    """Seeded weights of a network, and its outputs: ``c1``, ... behind the modules ``levels``, and logits.

    See :func:`oracles.torch_run.calibrated_state`. The outputs are in double precision, as those of
    :func:`oracles.network_cases.in_double`.
    """
    model = live_model(library, name)
    source = calibrated_state(model, images.shape[1:3])
    outputs: dict[str, np.ndarray] = {}

    def keep(level: str, _module: nn.Module, _inputs: Any, value: torch.Tensor) -> None:
        # A copy: what follows may add to it in place.
        outputs[level] = channels_last(value).copy()

    for number, module in enumerate(levels, start=1):
        model.get_submodule(module).register_forward_hook(functools.partial(keep, f"c{number}"))
    with torch.no_grad():
        outputs["logits"] = model.double()(torch.from_numpy(images).double().permute(0, 3, 1, 2)).numpy()
    assert all(math.isfinite(np.abs(value).max()) for value in outputs.values())
    return source, outputs
