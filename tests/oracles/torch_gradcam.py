"""Grad-CAM, Grad-CAM++ and saliency with PyTorch's hooks. Import only where torch is installed."""

from typing import Any

import numpy as np
import torch
from oracles.gradcam_cases import CamCase, seeded_classes, seeded_pixels
from oracles.network_cases import CASES, seeded_images, seeded_state_dict
from oracles.torch_run import channels_last, torch_model
from torch import nn


def torch_maps(case: CamCase) -> dict[str, Any]:
    """Names and shapes of the weights, logits, and the maps of each method."""
    model = torch_model(CASES[case.network]).eval()
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    model.load_state_dict({key: torch.from_numpy(value) for key, value in seeded_state_dict(shapes).items()})
    images = torch.from_numpy(np.moveaxis(seeded_images(CASES[case.network]), -1, 1).copy())
    pixels = seeded_pixels(case)
    maps = hooked_maps(model, case.module, images, seeded_classes(case), pixels)
    return {"shapes": shapes, **{name: maps[name] for name in ("logits", *case.methods)}}


def hooked_maps(
    model: nn.Module, module: str, images: torch.Tensor, classes: np.ndarray, pixels: np.ndarray | None
) -> dict[str, np.ndarray]:
    """The maps of the module's output, ``[N, h, w]`` each, and the logits."""
    kept: dict[str, torch.Tensor] = {}

    def keep(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        output.retain_grad()
        kept["output"] = output

    handle = model.get_submodule(module).register_forward_hook(keep)
    images = images.clone().requires_grad_()
    logits = model(images)
    handle.remove()
    chosen = logits[torch.arange(len(images)), torch.from_numpy(classes).long()]  # [N] or [N, H, W]
    if pixels is not None:
        chosen = chosen * torch.from_numpy(pixels)
    chosen.sum().backward()
    a, g = kept["output"].detach(), kept["output"].grad
    total = a.sum((2, 3), keepdim=True)
    divisor = 2 * g**2 + total * g**3
    alpha = torch.where(g != 0, g**2 / torch.where(divisor == 0, torch.ones(()), divisor), torch.zeros(()))
    weights = {
        "grad_cam": g.mean((2, 3), keepdim=True),
        "grad_cam++": (alpha * g.relu()).sum((2, 3), keepdim=True),
    }
    maps = {name: (weight * a).sum(1).relu().numpy() for name, weight in weights.items()}
    return {"logits": channels_last(logits), "saliency": images.grad.abs().amax(1).numpy(), **maps}
