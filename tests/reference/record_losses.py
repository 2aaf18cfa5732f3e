"""Records what PyTorch computes for the losses: values, and the gradient of their sum.

Run from the repository's root, where torch and torchvision are installed:
``python tests/reference/record_losses.py``. Writes ``tests/reference/losses.npz``; its header states the
versions. The same function is the live comparison of ``-m parity``.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

REFERENCE = Path(__file__).parent
IGNORED = 255


def inputs() -> dict[str, np.ndarray]:
    """Logits [2, 5, 6, 4], labels with void pixels, binary and real targets: all from one seed."""
    rng = np.random.default_rng(20)
    logits = rng.normal(0.0, 3.0, (2, 5, 6, 4)).astype(np.float32)
    labels = rng.integers(0, 4, (2, 5, 6)).astype(np.int32)
    labels[rng.random(labels.shape) < 0.2] = IGNORED
    extreme = np.where(rng.random(logits.shape) < 0.5, -200.0, 200.0).astype(np.float32)
    return {
        "logits": logits,
        "labels": labels,
        "extreme": extreme,
        "class_weights": np.array([0.5, 1.0, 2.0, 3.0], np.float32),
        "binary": rng.integers(0, 2, logits.shape).astype(np.int32),
        "soft": rng.random(logits.shape).astype(np.float32),
        "targets": rng.normal(0.0, 2.0, logits.shape).astype(np.float32),
        "distribution": rng.dirichlet(np.full(4, 0.3), (2, 5, 6)).astype(np.float32),
    }


def torch_cases() -> dict[str, tuple[str, Callable[[Any, dict[str, Any]], Any]]]:
    """Name -> (which input is differentiated, torch function of it and of all inputs)."""
    import torch
    import torch.nn.functional as F
    from torchvision.ops import sigmoid_focal_loss

    def entropy(x: Any, data: dict[str, Any], **options: Any) -> Any:
        labels = data["labels"].long()
        return F.cross_entropy(x.permute(0, 3, 1, 2), labels, ignore_index=IGNORED, **options)

    def soft(x: Any, targets: Any, **options: Any) -> Any:
        channels_first = x.permute(0, 3, 1, 2), targets.permute(0, 3, 1, 2)
        return F.cross_entropy(*channels_first, **{"reduction": "none", **options})

    def bce(x: Any, targets: Any, **options: Any) -> Any:
        return F.binary_cross_entropy_with_logits(x, targets.float(), reduction="none", **options)

    def focal(x: Any, data: dict[str, Any], **options: Any) -> Any:
        return sigmoid_focal_loss(x, data["binary"].float(), reduction="none", **options)

    def dice(x: Any, data: dict[str, Any], smooth: float, power: int, over_batch: bool) -> Any:
        counted = (data["labels"] != IGNORED).float()[..., None]
        hit = F.one_hot(data["labels"].long().clamp(max=3), 4) * counted
        p = torch.softmax(x, -1) * counted
        dims = (0, 1, 2) if over_batch else (1, 2)
        overlap, size = (p * hit).sum(dims), (p**power).sum(dims) + hit.sum(dims)
        return 1 - (2 * overlap + smooth) / (size + smooth)

    def binary_dice(x: Any, data: dict[str, Any]) -> Any:
        p, g = torch.sigmoid(x).flatten(1), data["binary"].float().flatten(1)
        return 1 - (2 * (p * g).sum(1) + 1) / (p.sum(1) + g.sum(1) + 1)

    return {
        "entropy": ("logits", lambda x, d: entropy(x, d, reduction="none")),
        "entropy_extreme": ("extreme", lambda x, d: entropy(x, d, reduction="none")),
        "entropy_weighted": (
            "logits",
            lambda x, d: entropy(x, d, reduction="none", weight=d["class_weights"]),
        ),
        "entropy_smooth": ("logits", lambda x, d: entropy(x, d, reduction="none", label_smoothing=0.1)),
        "entropy_weighted_smooth": (
            "logits",
            lambda x, d: entropy(x, d, reduction="none", weight=d["class_weights"], label_smoothing=0.3),
        ),
        "entropy_mean": ("logits", lambda x, d: entropy(x, d)),
        "entropy_weighted_smooth_mean": (
            "logits",
            lambda x, d: entropy(x, d, weight=d["class_weights"], label_smoothing=0.3),
        ),
        "soft_entropy": ("logits", lambda x, d: soft(x, d["distribution"])),
        "soft_entropy_extreme": ("extreme", lambda x, d: soft(x, d["distribution"])),
        # Rows of "soft" do not sum to one, which torch takes as they are.
        "soft_entropy_weighted_smooth": (
            "logits",
            lambda x, d: soft(x, d["soft"], weight=d["class_weights"], label_smoothing=0.3),
        ),
        "soft_entropy_weighted_smooth_mean": (
            "logits",
            lambda x, d: soft(
                x, d["distribution"], weight=d["class_weights"], label_smoothing=0.3, reduction="mean"
            ),
        ),
        "bce": ("logits", lambda x, d: bce(x, d["binary"])),
        "bce_extreme": ("extreme", lambda x, d: bce(x, d["binary"])),
        "bce_soft_weighted": ("logits", lambda x, d: bce(x, d["soft"], pos_weight=torch.tensor(2.5))),
        "focal": ("logits", lambda x, d: focal(x, d)),
        "focal_unweighted": ("logits", lambda x, d: focal(x, d, alpha=-1, gamma=1.5)),
        "focal_extreme": ("extreme", lambda x, d: focal(x, d)),
        "dice": ("logits", lambda x, d: dice(x, d, 1.0, 1, False)),
        "dice_squared_batch": ("logits", lambda x, d: dice(x, d, 0.0, 2, True)),
        "binary_dice": ("logits", binary_dice),
        "l1": ("logits", lambda x, d: F.l1_loss(x, d["targets"], reduction="none")),
        "l2": ("logits", lambda x, d: F.mse_loss(x, d["targets"], reduction="none")),
        "huber": ("logits", lambda x, d: F.huber_loss(x, d["targets"], reduction="none", delta=1.5)),
        "kl": (
            "logits",
            lambda x, d: F.kl_div(F.log_softmax(x, -1), d["distribution"], reduction="none").sum(-1),
        ),
    }


def torch_outputs() -> dict[str, np.ndarray]:
    """``<case>`` and ``<case>_gradient`` of every case."""
    import torch

    outputs = {}
    for name, (argument, function) in torch_cases().items():
        data = {key: torch.from_numpy(value) for key, value in inputs().items()}
        x = data[argument].requires_grad_()
        loss = function(x, data)
        loss.sum().backward()
        outputs[name] = loss.detach().numpy()
        outputs[f"{name}_gradient"] = x.grad.numpy()
    return outputs


def main() -> None:
    import torch
    import torchvision

    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__, "numpy": np.__version__}
    path = REFERENCE / "losses.npz"
    np.savez_compressed(path, header=json.dumps({"versions": versions}), **torch_outputs())
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
