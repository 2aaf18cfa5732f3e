"""Transforms of an image and its mask or label together, in numpy and Pillow on the host.

A transform is called as ``transform(record, rng)`` and returns a new record; all chance comes from ``rng``,
a numpy Generator, so equal generators give equal results. ``record["image"]`` is uint8 [H, W, 3] until
:class:`Normalize`, which comes last and makes it float32; ``record["mask"]`` is uint8 [H, W] with 255 = void,
and may be absent. Geometric transforms keep image, mask, label and name and drop all else (boxes, instance
masks), which would no longer fit.
"""

import dataclasses
from typing import Any

import numpy as np

from jaxvision.data.records import (
    Record,
    Source,
    Transform,
    change,
    check_interpolation,
    check_probability,
    check_size,
    image_of,
    resized,
)

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "ColourJitter",
    "Compose",
    "Normalize",
    "RandomHorizontalFlip",
    "RandomScale",
    "Resize",
    "channel_statistics",
    "compose",
]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean of the ImageNet training pictures a channel (RGB, 0..1), as published weights expect it."""

IMAGENET_STD = (0.229, 0.224, 0.225)
"""Standard deviation that goes with ``IMAGENET_MEAN``."""

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


@dataclasses.dataclass(frozen=True)
class Resize:
    """Resizes: the image with antialiasing, the mask by nearest neighbour.

    Attributes:
      size: (H, W) of the result.
      interpolation: of the image: "bilinear", "bicubic" or "nearest", antialiased as Pillow's.
    """

    size: tuple[int, int]
    _: dataclasses.KW_ONLY
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        check_size("Resize", self.size)
        check_interpolation("Resize", self.interpolation)

    def __call__(self, record: Record, rng: np.random.Generator) -> dict[str, Any]:
        """Transforms one record."""
        return resized(record, self.size, interpolation=self.interpolation)


@dataclasses.dataclass(frozen=True)
class RandomHorizontalFlip:
    """Mirrors left and right by chance.

    Attributes:
      probability: of mirroring.
    """

    _: dataclasses.KW_ONLY
    probability: float = 0.5

    def __post_init__(self) -> None:
        check_probability("RandomHorizontalFlip", self.probability)

    def __call__(self, record: Record, rng: np.random.Generator) -> dict[str, Any]:
        """Transforms one record."""
        if rng.random() >= self.probability:
            return change(record, lambda array: array)
        return change(record, lambda array: array[:, ::-1])


@dataclasses.dataclass(frozen=True)
class RandomScale:
    """Resizes both sides by one factor, drawn uniformly.

    Attributes:
      least: factor.
      greatest: factor.
    """

    _: dataclasses.KW_ONLY
    least: float = 0.5
    greatest: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.least <= self.greatest:
            raise ValueError(
                f"RandomScale: got {self.least} to {self.greatest}, expected 0 < least <= greatest"
            )

    def __call__(self, record: Record, rng: np.random.Generator) -> dict[str, Any]:
        """Transforms one record."""
        factor = rng.uniform(self.least, self.greatest)
        height, width = image_of(record).shape[:2]
        return resized(record, (max(1, round(height * factor)), max(1, round(width * factor))))


@dataclasses.dataclass(frozen=True)
class ColourJitter:
    """Changes brightness, then contrast, then saturation, each by a factor drawn from 1 - x to 1 + x.

    The factors blend the image with black, with its mean luma, and with its own luma (ITU-R BT.601). The
    order is fixed; results are clipped to 0..255 once, at the end.

    Attributes:
      brightness: x of the brightness, 0..1; 0 for no change.
      contrast: x of the contrast, likewise.
      saturation: x of the saturation, likewise.
    """

    _: dataclasses.KW_ONLY
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2

    def __post_init__(self) -> None:
        if not all(0 <= value <= 1 for value in (self.brightness, self.contrast, self.saturation)):
            raise ValueError(f"ColourJitter: got {self}, expected all three in 0..1")

    def __call__(self, record: Record, rng: np.random.Generator) -> dict[str, Any]:
        """Transforms one record."""
        brightness, contrast, saturation = (
            np.float32(rng.uniform(1 - value, 1 + value))
            for value in (self.brightness, self.contrast, self.saturation)
        )
        image = image_of(record).astype(np.float32) * brightness
        mean = (image @ _LUMA).mean()
        image = mean + contrast * (image - mean)
        grey = (image @ _LUMA)[..., None]  # [H, W, 1]
        image = grey + saturation * (image - grey)
        return {**record, "image": np.clip(np.rint(image), 0, 255).astype(np.uint8)}


@dataclasses.dataclass(frozen=True)
class Normalize:
    """uint8 0..255 -> float32: ``(image / 255 - mean) / std`` for each channel. The last step.

    Attributes:
      mean: of each channel (RGB), 0..1.
      std: standard deviation of each channel, likewise.
    """

    _: dataclasses.KW_ONLY
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if min(self.std) <= 0:
            raise ValueError(f"Normalize: got std {self.std}, expected positive numbers")

    def __call__(self, record: Record, rng: np.random.Generator) -> dict[str, Any]:
        """Transforms one record."""
        scale = 1 / (255 * np.asarray(self.std))
        shift = np.asarray(self.mean) / np.asarray(self.std)
        image = image_of(record) * scale.astype(np.float32) - shift.astype(np.float32)
        return {**record, "image": image}


@dataclasses.dataclass(frozen=True)
class Compose:
    """Applies transforms in order, all with one generator.

    Attributes:
      steps: the transforms.
    """

    steps: tuple[Transform, ...]

    def __call__(self, record: Record, rng: np.random.Generator) -> dict[str, Any]:
        """Transforms one record."""
        for step in self.steps:
            record = step(record, rng)
        return dict(record)


def compose(*steps: Transform) -> Compose:
    """``compose(a, b)(record, rng)`` is ``b(a(record, rng), rng)``.

    >>> image = np.zeros((4, 6, 3), np.uint8)
    >>> transform = compose(Resize((8, 12)), Normalize())
    >>> transform({"image": image}, np.random.default_rng(0))["image"].shape
    (8, 12, 3)
    """
    return Compose(steps)


def channel_statistics(source: Source, *, limit: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel over all pixels of a source, for :class:`Normalize`.

    Args:
      source: records with ``image`` uint8 [H, W, 3].
      limit: how many records to read, spread evenly over the source; all by default.

    Returns:
      ``mean`` and ``std``, float64 [3] each, as shares of the full range (0..1).

    Raises:
      ValueError: if the source is empty or ``limit`` is not positive.

    >>> image = np.array([[[0, 51, 255], [0, 102, 255]]], np.uint8)
    >>> mean, std = channel_statistics([{"image": image}])
    >>> mean.round(6).tolist(), std.round(6).tolist()
    ([0.0, 0.3, 1.0], [0.0, 0.1, 0.0])
    """
    if len(source) == 0 or (limit is not None and limit < 1):
        raise ValueError(
            f"channel_statistics: got {len(source)} records and limit {limit}, expected at least 1"
        )
    count = len(source) if limit is None else min(limit, len(source))
    pixels = 0
    total = np.zeros(3)
    squares = np.zeros(3)
    for position in range(count):
        image = image_of(source[position * len(source) // count]).reshape(-1, 3)
        # Integer sums are exact, so the result does not depend on the order.
        values = image.astype(np.uint64)
        total += values.sum(0)
        squares += (values * values).sum(0)
        pixels += len(image)
    mean = total / pixels
    std = np.sqrt(np.maximum(squares / pixels - mean**2, 0))
    return mean / 255, std / 255
