"""Records what torchvision makes of a Pillow picture: every augmentation, crops, the published preprocessing.

Run from the repository's root, where torch and torchvision are installed:
``python tests/reference/record_transforms.py``. Writes ``tests/reference/transforms.npz``; its header states
the versions. The same function is the live comparison of ``-m parity``.
"""

import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

REFERENCE = Path(__file__).parent

OPERATIONS = {
    "identity": "Identity",
    "shear_x": "ShearX",
    "shear_y": "ShearY",
    "translate_x": "TranslateX",
    "translate_y": "TranslateY",
    "rotate": "Rotate",
    "brightness": "Brightness",
    "colour": "Color",
    "contrast": "Contrast",
    "sharpness": "Sharpness",
    "posterize": "Posterize",
    "solarize": "Solarize",
    "auto_contrast": "AutoContrast",
    "equalize": "Equalize",
}
SIGNED = list(OPERATIONS)[1:10]
MOVES = list(OPERATIONS)[1:6]  # these interpolate
STEPS = (9, 30)
SIZE = (15, 19)
FILL = (10, 20, 30)
PARTS = ((0, 0, 15, 19), (5, 7, 9, 4), (14, 18, 1, 1))  # top, left, height, width
PART_SIZE = (8, 11)
CROPS = ((15, 19), (10, 10), (11, 12), (24, 10), (9, 24), (20, 27))
EVALUATIONS = (
    ((20, 16), 24, "bilinear"),
    ((10, 10), 12, "bicubic"),
    ((9, 12), 9, "nearest"),
    ((20, 20), 15, "bilinear"),
)


def image() -> np.ndarray:
    """A smooth field with noise on it, and a dull corner, so that contrast has something to do: uint8."""
    rng = np.random.default_rng(4)
    y, x, c = np.indices((*SIZE, 3))
    values = 120 + 70 * np.sin(x / 5 + c) + 40 * np.cos(y / 4 - c) + rng.normal(0, 12, (*SIZE, 3))
    values[:8, :8] = 90 + rng.integers(0, 9, (8, 8, 3))
    return np.clip(values, 12, 243).astype(np.uint8)


def augmentation_cases(steps: Iterable[int]) -> Iterator[tuple[str, str, int, int, str]]:
    """(policy, operation, step, sign, interpolation) of every augmentation."""
    for policy, operation in itertools.product(("rand", "trivial"), OPERATIONS):
        signs = (1, -1) if operation in SIGNED else (1,)
        modes = ("nearest", "bilinear") if operation in MOVES else ("nearest",)
        yield from itertools.product((policy,), (operation,), steps, signs, modes)


def torch_outputs(*, steps: Iterable[int] = STEPS) -> dict[str, np.ndarray]:
    """``<what>/...`` -> uint8 [H, W, 3], float32 [H, W, 3], or the table of strengths, float64 [31]."""
    from torchvision.transforms import InterpolationMode, autoaugment
    from torchvision.transforms import functional as F
    from torchvision.transforms._presets import ImageClassification

    picture = Image.fromarray(image())
    spaces: dict[str, Any] = {
        "rand": autoaugment.RandAugment()._augmentation_space(31, SIZE),
        "trivial": autoaugment.TrivialAugmentWide()._augmentation_space(31),
    }
    outputs = {}
    for policy, space in spaces.items():
        for ours, theirs in OPERATIONS.items():
            outputs[f"strengths/{policy}/{ours}"] = np.asarray(space[theirs][0].expand(31), np.float64)
            assert space[theirs][1] == (ours in SIGNED)
    for policy, operation, step, sign, mode in augmentation_cases(steps):
        strength = sign * float(outputs[f"strengths/{policy}/{operation}"][step])
        changed = autoaugment._apply_op(
            picture, OPERATIONS[operation], strength, InterpolationMode(mode), list(FILL)
        )
        outputs[f"{policy}/{operation}/{sign * step}/{mode}"] = np.asarray(changed)
    for part in PARTS:
        for mode in ("bilinear", "bicubic", "nearest"):
            cut = F.resized_crop(picture, *part, list(PART_SIZE), InterpolationMode(mode))
            outputs[f"part/{part}/{mode}"] = np.asarray(cut)
    for crop in CROPS:
        outputs[f"crop/{crop}"] = np.asarray(F.center_crop(picture, list(crop)))
    for crop, resize, mode in EVALUATIONS:
        preset = ImageClassification(
            crop_size=crop[0], resize_size=resize, interpolation=InterpolationMode(mode)
        )
        preset.crop_size = list(crop)
        outputs[f"eval/{crop}/{resize}/{mode}"] = preset(picture).numpy().transpose(1, 2, 0)
    return outputs


def main() -> None:
    import PIL
    import torch
    import torchvision

    versions = {
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "pillow": PIL.__version__,
        "numpy": np.__version__,
    }
    path = REFERENCE / "transforms.npz"
    np.savez_compressed(path, header=json.dumps({"versions": versions}), **torch_outputs())
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
