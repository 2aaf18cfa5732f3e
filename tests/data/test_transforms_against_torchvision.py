"""Augmentations, crops and the published preprocessing, as torchvision makes them of Pillow pictures."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pytest
from reference.record_transforms import (
    CROPS,
    EVALUATIONS,
    FILL,
    PART_SIZE,
    PARTS,
    REFERENCE,
    SIGNED,
    SIZE,
    STEPS,
    augmentation_cases,
    image,
    torch_outputs,
)

from jaxvision.data import (
    OPERATIONS,
    CenterCrop,
    RandAugment,
    RandomErasing,
    RandomResizedCrop,
    TrivialAugment,
    augment_image,
    eval_transform,
)
from jaxvision.data.augmentations import _signed
from jaxvision.weights import Preprocessing


class FixedPart(RandomResizedCrop):
    """Takes one part, named in ``scale``'s place, instead of a random one."""

    part: tuple[int, int, int, int]

    def draw(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        return self.part


def strengths_of(policy: str, step: int) -> dict[str, float]:
    if policy == "rand":
        known = RandAugment(magnitude=step).strengths(*SIZE)
    else:
        known = TrivialAugment().strengths(step)
    return {**dict.fromkeys(OPERATIONS, 0.0), **known}


def compare(expected: Mapping[str, Any], steps: Iterable[int]) -> int:
    """Compares all that is expected, and returns how much that was."""
    compared = 0
    for policy in ("rand", "trivial"):
        tables = [strengths_of(policy, step) for step in range(31)]
        for operation in OPERATIONS:
            table = expected[f"strengths/{policy}/{operation}"]
            assert [strengths[operation] for strengths in tables] == table.tolist(), operation
            compared += 1
    for policy, operation, step, sign, mode in augmentation_cases(steps):
        strength = sign * strengths_of(policy, step)[operation]
        name = f"{policy}/{operation}/{sign * step}/{mode}"
        got = augment_image(image(), operation, strength, interpolation=mode, fill=FILL)
        np.testing.assert_array_equal(got, expected[name], err_msg=name)
        compared += 1
    rng = np.random.default_rng(0)
    for part in PARTS:
        for mode in ("bilinear", "bicubic", "nearest"):
            crop = FixedPart(PART_SIZE, interpolation=mode)
            object.__setattr__(crop, "part", part)
            np.testing.assert_array_equal(
                crop({"image": image()}, rng)["image"], expected[f"part/{part}/{mode}"]
            )
            compared += 1
    for size in CROPS:
        got = CenterCrop(size)({"image": image()}, rng)["image"]
        np.testing.assert_array_equal(got, expected[f"crop/{size}"])
        compared += 1
    for size, resize, mode in EVALUATIONS:
        transform = eval_transform(Preprocessing(size=size, resize=resize, interpolation=mode))
        got = transform({"image": image()}, rng)["image"]
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, expected[f"eval/{size}/{resize}/{mode}"], atol=1e-5)
        compared += 1
    return compared


def test_recorded() -> None:
    with np.load(REFERENCE / "transforms.npz") as recorded:
        assert compare(recorded, STEPS) == len(recorded.files) - 1  # one is the header


@pytest.mark.parity
def test_live_at_every_step() -> None:
    pytest.importorskip("torchvision")
    expected = torch_outputs(steps=range(1, 31))
    assert compare(expected, range(1, 31)) == len(expected)


@pytest.mark.parity
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (300, 2), (200, 301), (257, 256)])
def test_published_preprocessing_of_any_size(size: tuple[int, int]) -> None:
    """With the very presets of the weights, interpolation and all."""
    pytest.importorskip("torchvision")
    from PIL import Image
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms._presets import ImageClassification

    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    for mode in ("bilinear", "bicubic"):
        preset = ImageClassification(crop_size=224, resize_size=232, interpolation=InterpolationMode(mode))
        theirs = preset(Image.fromarray(picture)).numpy().transpose(1, 2, 0)
        ours = eval_transform(Preprocessing(size=(224, 224), resize=232, interpolation=mode))
        got = ours({"image": picture}, np.random.default_rng(0))["image"]
        np.testing.assert_allclose(got, theirs, atol=1e-5)


@pytest.mark.parity
def test_random_parts_are_distributed_as_torchvisions() -> None:
    transforms = pytest.importorskip("torchvision").transforms
    import scipy.stats
    import torch
    from PIL import Image

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    count = 800
    for height, width in ((40, 60), (200, 12)):
        picture, tensor = Image.new("RGB", (width, height)), torch.zeros(3, height, width)
        crop, erasing = RandomResizedCrop((8, 8)), RandomErasing()
        draw = transforms.RandomResizedCrop.get_params
        parts = [draw(picture, crop.scale, crop.ratio) for _ in range(count)]
        draw = transforms.RandomErasing.get_params
        erased = [draw(tensor, erasing.scale, erasing.ratio, [0.0])[:4] for _ in range(count)]
        # Where nothing fits, torchvision says so by a rectangle of the whole image.
        erased = [(0, 0, 0, 0) if box == (0, 0, height, width) else box for box in erased]
        for transform, theirs in ((crop, parts), (erasing, erased)):
            ours = [transform.draw(height, width, rng) for _ in range(count)]
            for column in range(4):
                values = np.array(ours)[:, column], np.array(theirs)[:, column]
                assert scipy.stats.ks_2samp(*values, method="asymp").pvalue > 0.01


def test_operations_are_signed_as_torchvisions() -> None:
    """Over many draws each signed operation goes both ways, and no other does."""
    for operation in OPERATIONS:
        drawn = {_signed(operation, 1.0, np.random.default_rng(seed)) for seed in range(20)}
        assert drawn == ({1.0, -1.0} if operation in SIGNED else {1.0})
