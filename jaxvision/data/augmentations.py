"""Augmentation policies for classification: RandAugment, TrivialAugment, random erasing.

The operations are those of Pillow, as in torchvision, and equal to torchvision's on Pillow pictures. They
change colours or move pixels about: a mask would no longer fit, and is dropped.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from jaxvision.data.crops import ATTEMPTS, check_part, draw_sides
from jaxvision.data.records import (
    INTERPOLATIONS,
    Record,
    check_interpolation,
    check_probability,
    image_of,
)

__all__ = ["OPERATIONS", "RandAugment", "RandomErasing", "TrivialAugment", "augment_image"]

OPERATIONS = (
    *("identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "colour"),
    *("contrast", "sharpness", "posterize", "solarize", "auto_contrast", "equalize"),
)
"""The operations that the policies choose from, each with the same chance."""

_SIGNED = OPERATIONS[1:10]  # their magnitude goes both ways
_ENHANCEMENTS = OPERATIONS[6:10]
_BINS = 31  # magnitudes 0..30

# Pillow maps the output's coordinates to the input's: x' = a x + b y + c, y' = d x + e y + f.
_AFFINE: Mapping[str, Callable[[float], tuple[float, ...]]] = MappingProxyType(
    {
        "shear_x": lambda magnitude: (1, magnitude, 0, 0, 1, 0),
        "shear_y": lambda magnitude: (1, 0, 0, magnitude, 1, 0),
        "translate_x": lambda magnitude: (1, 0, -int(magnitude), 0, 1, 0),
        "translate_y": lambda magnitude: (1, 0, 0, 0, 1, -int(magnitude)),
    }
)
_COLOUR: Mapping[str, Callable[[Image.Image, float], Image.Image]] = MappingProxyType(
    {
        "identity": lambda picture, magnitude: picture,
        "brightness": lambda picture, magnitude: ImageEnhance.Brightness(picture).enhance(1 + magnitude),
        "colour": lambda picture, magnitude: ImageEnhance.Color(picture).enhance(1 + magnitude),
        "contrast": lambda picture, magnitude: ImageEnhance.Contrast(picture).enhance(1 + magnitude),
        "sharpness": lambda picture, magnitude: ImageEnhance.Sharpness(picture).enhance(1 + magnitude),
        "posterize": lambda picture, magnitude: ImageOps.posterize(picture, int(magnitude)),
        "solarize": lambda picture, magnitude: ImageOps.solarize(picture, math.ceil(magnitude)),
        "auto_contrast": lambda picture, magnitude: ImageOps.autocontrast(picture),
        "equalize": lambda picture, magnitude: ImageOps.equalize(picture),
    }
)


def augment_image(
    image: np.ndarray,
    operation: str,
    magnitude: float,
    *,
    interpolation: str = "nearest",
    fill: tuple[int, int, int] = (0, 0, 0),
) -> np.ndarray:
    """Applies one operation.

    Args:
      image: uint8 [H, W, 3].
      operation: one of ``OPERATIONS``.
      magnitude: shear as a tangent, translation in pixels (to the right, downwards), rotation in degrees
        (against the clock); of the enhancements what is added to a factor of 1; of "posterize" the number of
        bits that are kept, of "solarize" the value from which on pixels are inverted; else without meaning.
      interpolation: of what moves pixels.
      fill: RGB, 0..255, of what comes in from outside of the image.

    Returns:
      uint8 [H, W, 3].

    Raises:
      ValueError: if the operation or the interpolation is unknown.

    >>> augment_image(np.array([[[10, 20, 200]]], np.uint8), "solarize", 128).tolist()
    [[[10, 20, 55]]]
    """
    if operation not in OPERATIONS:
        raise ValueError(f"operation: got {operation!r}, expected one of {', '.join(OPERATIONS)}")
    check_interpolation("augment_image", interpolation)
    picture = Image.fromarray(image)
    method = INTERPOLATIONS[interpolation]
    if operation in _AFFINE:
        matrix = _AFFINE[operation](magnitude)
        moved = picture.transform(
            picture.size, Image.Transform.AFFINE, matrix, resample=method, fillcolor=fill
        )
    elif operation == "rotate":
        moved = picture.rotate(magnitude, resample=method, fillcolor=fill)
    else:
        moved = _COLOUR[operation](picture, magnitude)
    return np.array(moved)


@dataclasses.dataclass(frozen=True)
class RandAugment:
    """Applies some random operations one after the other, all of one strength.

    Attributes:
      num_ops: how many.
      magnitude: strength, 0..30; the greatest shears by 0.3, moves by 150/331 of the side, turns by 30
        degrees, changes colours by factors of 0.1 or 1.9, keeps 4 bits, inverts all values.
      interpolation: of what moves pixels.
      fill: RGB, 0..255, of what comes in from outside of the image.

    References:
      Cubuk et al. 2020, "RandAugment: Practical automated data augmentation with a reduced search space",
      figure 2. Operations and strengths are torchvision's, whose scale has 31 steps.
    """

    _: dataclasses.KW_ONLY
    num_ops: int = 2
    magnitude: int = 9
    interpolation: str = "nearest"
    fill: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self) -> None:
        check_interpolation("RandAugment", self.interpolation)
        if self.num_ops < 0 or not 0 <= self.magnitude < _BINS:
            raise ValueError(
                f"RandAugment: got num_ops {self.num_ops} and magnitude {self.magnitude}, expected 0 or more "
                f"operations and a magnitude in 0..{_BINS - 1}"
            )

    def strengths(self, height: int, width: int) -> dict[str, float]:
        """Magnitude of each operation, for :func:`augment_image`, on an image of this size."""
        return {
            **dict.fromkeys(("shear_x", "shear_y"), _step(0, 0.3, self.magnitude)),
            "translate_x": _step(0, 150 / 331 * width, self.magnitude),
            "translate_y": _step(0, 150 / 331 * height, self.magnitude),
            "rotate": _step(0, 30, self.magnitude),
            **dict.fromkeys(_ENHANCEMENTS, _step(0, 0.9, self.magnitude)),
            "posterize": 8 - round(4 * self.magnitude / (_BINS - 1)),
            "solarize": _step(255, 0, self.magnitude),
        }

    def __call__(self, record: Record, rng: np.random.Generator) -> dict[str, Any]:
        """Transforms one record."""
        image = image_of(record)
        height, width = image.shape[:2]
        strengths = self.strengths(height, width)
        for _ in range(self.num_ops):
            operation = OPERATIONS[rng.integers(len(OPERATIONS))]
            magnitude = _signed(operation, strengths.get(operation, 0.0), rng)
            image = augment_image(
                image, operation, magnitude, interpolation=self.interpolation, fill=self.fill
            )
        return _with_image(record, image)


@dataclasses.dataclass(frozen=True)
class TrivialAugment:
    """Applies one random operation of random strength: RandAugment with nothing to tune.

    Attributes:
      interpolation: of what moves pixels.
      fill: RGB, 0..255, of what comes in from outside of the image.

    References:
      Müller and Hutter 2021, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation", the wide
      space of table 1. Operations and strengths are torchvision's, whose scale has 31 steps.
    """

    _: dataclasses.KW_ONLY
    interpolation: str = "nearest"
    fill: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self) -> None:
        check_interpolation("TrivialAugment", self.interpolation)

    def strengths(self, step: int) -> dict[str, float]:
        """Magnitude of each operation, for :func:`augment_image`, at a step in 0..30."""
        return {
            **dict.fromkeys(("shear_x", "shear_y", *_ENHANCEMENTS), _step(0, 0.99, step)),
            **dict.fromkeys(("translate_x", "translate_y"), _step(0, 32, step)),
            "rotate": _step(0, 135, step),
            "posterize": 8 - round(6 * step / (_BINS - 1)),
            "solarize": _step(255, 0, step),
        }

    def __call__(self, record: Record, rng: np.random.Generator) -> dict[str, Any]:
        """Transforms one record."""
        operation = OPERATIONS[rng.integers(len(OPERATIONS))]
        strengths = self.strengths(int(rng.integers(_BINS)))
        magnitude = _signed(operation, strengths.get(operation, 0.0), rng)
        image = augment_image(
            image_of(record), operation, magnitude, interpolation=self.interpolation, fill=self.fill
        )
        return _with_image(record, image)


@dataclasses.dataclass(frozen=True)
class RandomErasing:
    """Fills a random rectangle with one colour, or with noise. A mask, if there is one, stays as it is.

    Attributes:
      probability: of erasing anything.
      scale: (least, greatest) share of the image's area.
      ratio: (least, greatest) height over width.
      fill: RGB, 0..255, by default the ImageNet mean, which normalises to about zero; None fills each pixel
        with random values 0..255.

    References:
      Zhong et al. 2020, "Random Erasing Data Augmentation", algorithm 1; the draws are torchvision's, which
      gives up after ten rectangles that do not fit. torchvision erases after the normalisation, with zeros or
      with normal noise; here it comes before, as in the paper.
    """

    _: dataclasses.KW_ONLY
    probability: float = 0.5
    scale: tuple[float, float] = (0.02, 0.33)
    ratio: tuple[float, float] = (0.3, 3.3)
    fill: tuple[int, int, int] | None = (124, 116, 104)

    def __post_init__(self) -> None:
        check_part("RandomErasing", self.scale, self.ratio)
        check_probability("RandomErasing", self.probability)

    def draw(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        """The rectangle of an image of this size: top, left, height, width; of size 0 if none fits."""
        for _ in range(ATTEMPTS):
            rows, columns = draw_sides(height * width, self.scale, self.ratio, rng)
            if rows < height and columns < width:
                top = int(rng.integers(height - rows + 1))
                return top, int(rng.integers(width - columns + 1)), rows, columns
        return 0, 0, 0, 0

    def __call__(self, record: Record, rng: np.random.Generator) -> dict[str, Any]:
        """Transforms one record."""
        image = image_of(record)
        if rng.random() >= self.probability:
            return dict(record)
        height, width = image.shape[:2]
        top, left, rows, columns = self.draw(height, width, rng)
        erased = image.copy()
        part = erased[top : top + rows, left : left + columns]
        part[:] = rng.integers(0, 256, part.shape, np.uint8) if self.fill is None else self.fill
        return {**record, "image": erased}


def _step(first: float, last: float, step: int) -> float:
    """Value at a step from the first (0) to the last (30), rounded as ``torch.linspace`` rounds.

    It counts from the nearer end by a float32 step. At a threshold on a whole number, or a shear by half
    pixels, the last bit decides over whole areas of the image.
    """
    start, end = np.float32(first), np.float32(last)
    width = float((end - start) / np.float32(_BINS - 1))
    near = float(start) + width * step if step < _BINS // 2 else float(end) - width * (_BINS - 1 - step)
    return float(np.float32(near))


def _signed(operation: str, magnitude: float, rng: np.random.Generator) -> float:
    return -magnitude if operation in _SIGNED and rng.integers(2) else magnitude


def _with_image(record: Record, image: np.ndarray) -> dict[str, Any]:
    """The changed image with label and name, without what would no longer fit."""
    return {"image": image} | {key: record[key] for key in ("label", "name") if key in record}
