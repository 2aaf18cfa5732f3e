"""Records what PyTorch computes for the losses of segmentation: values, and the gradient of their sum.

Run from the repository's root, where torch is installed:
``python tests/reference/record_segmentation_losses.py``. Writes
``tests/reference/segmentation_losses.npz``; its header states the versions. The same function is the live
comparison of ``-m parity``.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

REFERENCE = Path(__file__).parent
IGNORED = 255


def inputs() -> dict[str, np.ndarray]:
    """Logits [2, 6, 7, 4], labels with void pixels and without, binary labels: all from one seed.

    The second image has no pixel of class 3.
    """
    rng = np.random.default_rng(21)
    logits = rng.normal(0.0, 3.0, (2, 6, 7, 4)).astype(np.float32)
    whole = rng.integers(0, 4, (2, 6, 7)).astype(np.int32)
    whole[1][whole[1] == 3] = 1
    labels = np.where(rng.random(whole.shape) < 0.2, IGNORED, whole).astype(np.int32)
    extreme = np.where(rng.random(logits.shape) < 0.5, -200.0, 200.0).astype(np.float32)
    return {
        "logits": logits,
        "extreme": extreme,
        "scores": rng.normal(0.0, 2.0, whole.shape).astype(np.float32),
        "extreme_scores": np.where(rng.random(whole.shape) < 0.5, -200.0, 200.0).astype(np.float32),
        "labels": labels,
        "whole": whole,
        "binary": rng.integers(0, 2, whole.shape).astype(np.int32),
        "class_weights": np.array([0.5, 1.0, 2.0, 3.0], np.float32),
    }


def torch_cases() -> dict[str, tuple[str, Callable[[Any, dict[str, Any]], Any]]]:
    """Name -> (which input is differentiated, torch function of it and of all inputs)."""
    from oracles import torch_segmentation_losses as oracle

    def two_classes(x: Any) -> Any:
        """Logits of a sigmoid as those of a softmax."""
        import torch

        return torch.stack([torch.zeros_like(x), x], -1)

    return {
        "jaccard": ("logits", lambda x, d: oracle.jaccard(x, d["labels"])),
        "jaccard_batch": ("logits", lambda x, d: oracle.jaccard(x, d["labels"], smooth=1.0, over_batch=True)),
        "jaccard_extreme": ("extreme", lambda x, d: oracle.jaccard(x, d["labels"])),
        "binary_jaccard": ("scores", lambda x, d: oracle.jaccard(two_classes(x), d["binary"])[:, 1]),
        "tversky": ("logits", lambda x, d: oracle.tversky(x, d["labels"])),
        "tversky_batch": (
            "logits",
            lambda x, d: oracle.tversky(x, d["labels"], alpha=0.9, beta=0.2, smooth=1.0, over_batch=True),
        ),
        "tversky_extreme": ("extreme", lambda x, d: oracle.tversky(x, d["labels"])),
        "binary_tversky": ("scores", lambda x, d: oracle.tversky(two_classes(x), d["binary"])[:, 1]),
        "focal_tversky": ("logits", lambda x, d: oracle.tversky(x, d["labels"], exponent=0.75)),
        "focal_tversky_batch": (
            "logits",
            lambda x, d: oracle.tversky(x, d["labels"], smooth=1.0, exponent=0.5, over_batch=True),
        ),
        "log_cosh_dice": ("logits", lambda x, d: oracle.log_cosh_dice(x, d["labels"])),
        "generalised_dice": ("logits", lambda x, d: oracle.generalised_dice(x, d["labels"])),
        "generalised_dice_batch": (
            "logits",
            lambda x, d: oracle.generalised_dice(x, d["labels"], power=1.0, over_batch=True),
        ),
        "generalised_dice_extreme": ("extreme", lambda x, d: oracle.generalised_dice(x, d["labels"])),
        "lovasz": ("logits", lambda x, d: oracle.lovasz_softmax(x, d["labels"])),
        "lovasz_batch": ("logits", lambda x, d: oracle.lovasz_softmax(x, d["labels"], over_batch=True)),
        "lovasz_mean_present": ("logits", lambda x, d: oracle.lovasz_softmax_mean_present(x, d["labels"])),
        "lovasz_extreme": ("extreme", lambda x, d: oracle.lovasz_softmax(x, d["labels"])),
        "hinge": ("scores", lambda x, d: oracle.lovasz_hinge(x, d["binary"])),
        "hinge_batch": ("scores", lambda x, d: oracle.lovasz_hinge(x, d["binary"], over_batch=True)),
        "hinge_extreme": ("extreme_scores", lambda x, d: oracle.lovasz_hinge(x, d["binary"])),
        "boundary": ("logits", lambda x, d: oracle.boundary(x, d["whole"])),
        "boundary_extreme": ("extreme", lambda x, d: oracle.boundary(x, d["whole"])),
        "hard_by_threshold": (
            "logits",
            lambda x, d: oracle.hard_entropy(x, d["labels"], threshold=0.3, min_kept=1),
        ),
        "hard_by_number": (
            "logits",
            lambda x, d: oracle.hard_entropy(
                x, d["labels"], threshold=0.01, min_kept=20, weights=d["class_weights"]
            ),
        ),
        "hard_all": (
            "logits",
            lambda x, d: oracle.hard_entropy(x, d["labels"], threshold=0.01, min_kept=1000),
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
    import scipy
    import torch

    versions = {"torch": torch.__version__, "scipy": scipy.__version__, "numpy": np.__version__}
    path = REFERENCE / "segmentation_losses.npz"
    np.savez_compressed(path, header=json.dumps({"versions": versions}), **torch_outputs())
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
