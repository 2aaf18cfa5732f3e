"""Runs the cases of ``network_cases`` in PyTorch. Import only where torch is installed."""

from typing import Any

import numpy as np
import torch
from oracles.network_cases import NARROW, VGG11, Case, seeded_cotangent, seeded_images, seeded_state_dict
from oracles.torch_networks import FCN, UNet, narrow_resnet, vgg_classifier, vgg_features
from torch import nn


def torch_model(case: Case) -> nn.Module:
    fields = dict(case.fields)
    if case.family == "unet":
        return UNet(case.shape[3], case.classes, fields.pop("features"), dropout=0.0, **fields)
    if case.family == "resnet":
        return narrow_resnet(num_classes=case.classes, **fields)
    use_norm = fields.pop("use_norm", False)
    if case.family == "vgg":
        return vgg_classifier(
            VGG11, NARROW, use_norm=use_norm, hidden=10, num_classes=case.classes, dropout=0.0
        )
    features = vgg_features(VGG11, NARROW, use_norm=use_norm)
    return FCN(features, NARROW, case.classes, stride=fields["stride"], hidden=10, dropout=0.0)


def channels_last(x: torch.Tensor) -> np.ndarray:
    """[N, K, H, W] -> [N, H, W, K]; logits of a classifier stay [N, K]."""
    x = x.detach()
    return (x.permute(0, 2, 3, 1) if x.ndim == 4 else x).contiguous().numpy()


def torch_outputs(case: Case) -> dict[str, Any]:
    """Names and shapes, logits in both modes, and under ``after/`` the gradients and new statistics.

    What training gives is computed in double precision, see ``network_cases.check_model``.
    """
    return model_outputs(torch_model(case), seeded_images(case))


def model_outputs(model: nn.Module, inputs: np.ndarray) -> dict[str, Any]:
    """As :func:`torch_outputs`, of any model, for ``network_cases.check_model``."""
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    weights = seeded_state_dict(shapes)
    model.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    images = torch.from_numpy(np.moveaxis(inputs, -1, 1).copy())
    outputs: dict[str, Any] = {"shapes": shapes}
    with torch.no_grad():
        outputs["eval_logits"] = channels_last(model.eval()(images))
    logits = model.double().train()(images.double())
    outputs["train_logits"] = channels_last(logits.float())
    cotangent = torch.from_numpy(seeded_cotangent(outputs["eval_logits"].shape))
    (logits * (cotangent.permute(0, 3, 1, 2) if logits.ndim == 4 else cotangent)).sum().backward()
    for key, parameter in model.named_parameters():
        outputs[f"after/{key}"] = parameter.grad.float().numpy()
    for key, value in model.named_buffers():
        if key.endswith(("running_mean", "running_var")):
            outputs[f"after/{key}"] = value.float().numpy()
    return outputs


def calibrated_state(model: nn.Module, size: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Gives a whole network seeded weights, puts it into evaluation, and returns its state.

    Its running statistics are those of random images of a size, and its normalisations halve, since otherwise
    a deep network's values, and with them the rounding, grow by the block. Dropout and stochastic depth are
    taken away.
    """
    source = seeded_state_dict({key: tuple(value.shape) for key, value in model.state_dict().items()})
    model.load_state_dict({key: torch.from_numpy(value) for key, value in source.items()})
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in norms:
        module.momentum = 1.0
        module.weight.data *= 0.5
    for module in model.modules():
        if hasattr(module, "p") and isinstance(module.p, float):
            module.p = 0.0
    others = np.random.default_rng(1).standard_normal((8, 3, *size)).astype(np.float32)
    with torch.no_grad():
        model.train()(torch.from_numpy(others))
    model.eval()
    for module in norms:
        module.running_var.clamp_(min=0.1)
    return {key: value.numpy().copy() for key, value in model.state_dict().items()}
