"""Transforms of an image and its mask or label together, in numpy and Pillow on the host.

A transform is called as ``transform(record, rng)`` and returns a new record; all chance comes from ``rng``,
a numpy Generator, so equal generators give equal results. ``record["image"]`` is uint8 [H, W, 3] until
:class:`Normalize`, which comes last and makes it float32; ``record["mask"]`` is uint8 [H, W] with 255 = void,
and may be absent. Geometric transforms keep image, mask, label and name and drop all else (boxes, instance
masks), which would no longer fit.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from PIL import Image

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "ColourJitter",
    "Compose",
    "Normalize",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomScale",
    "Resize",
    "channel_statistics",
    "compose",
]

Record = Mapping[str, Any]
Transform = Callable[[Record, np.random.Generator], dict[str, Any]]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean of the ImageNet training pictures a channel (RGB, 0..1), as published weights expect it."""

IMAGENET_STD = (0.229, 0.224, 0.225)
"""Standard deviation that goes with ``IMAGENET_MEAN``."""

VOID = 255
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


class Source(Protocol):
    """Random access to records: what every reader in this package is."""

    def __len__(self) -> int:
        """Number of records."""

    def __getitem__(self, index: int) -> Record:
        """The record at a position."""


@dataclasses.dataclass(frozen=True)
class Resize:
    """Resizes to ``size`` (H, W): the image bilinearly with antialiasing, the mask by nearest neighbour."""

    size: tuple[int, int]

    def __call__(self, record: Record, rng: np.random.Generator) -> dict[str, Any]:
        """Transforms one record."""
        return _resized(record, self.size)


@dataclasses.dataclass(frozen=True)
class RandomHorizontalFlip:
    """Mirrors left and right with the given probability."""

    _: dataclasses.KW_ONLY
    probability: float = 0.5

    def __call__(self, record: Record, rng: np.random.Generator) -> dict[str, Any]:
        """Transforms one record."""
        if rng.random() >= self.probability:
            return _geometric(record, lambda array: array)
        return _geometric(record, lambda array: array[:, ::-1])


@dataclasses.dataclass(frozen=True)
class RandomScale:
    """Resizes both sides by one factor drawn uniformly from ``least`` to ``greatest``."""

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
        height, width = _image(record).shape[:2]
        return _resized(record, (max(1, round(height * factor)), max(1, round(width * factor))))


@dataclasses.dataclass(frozen=True)
class RandomCrop:
    """Cuts a window of ``size`` (H, W) at a random place.

    Where the image is smaller than the window, it is put at a random place in it; the rest of the image is
    ``fill`` (RGB, 0..255; by default the ImageNet mean, which normalises to about zero), of the mask void.
    """

    size: tuple[int, int]
    _: dataclasses.KW_ONLY
    fill: tuple[int, int, int] = (124, 116, 104)

    def __call__(self, record: Record, rng: np.random.Generator) -> dict[str, Any]:
        """Transforms one record."""
        spare = [have - want for have, want in zip(_image(record).shape[:2], self.size, strict=True)]
        offsets = [int(rng.integers(min(room, 0), max(room, 0) + 1)) for room in spare]
        # A positive offset cuts off the image's start; a negative one leaves a margin in the window.
        taken = tuple(
            slice(max(offset, 0), max(offset, 0) + want)
            for offset, want in zip(offsets, self.size, strict=True)
        )

        def crop(array: np.ndarray) -> np.ndarray:
            part = array[taken]
            fill = np.array(self.fill if array.ndim == 3 else VOID, array.dtype)
            window = np.broadcast_to(fill, (*self.size, *array.shape[2:])).copy()
            y, x = (max(-offset, 0) for offset in offsets)
            window[y : y + part.shape[0], x : x + part.shape[1]] = part
            return window

        return _geometric(record, crop)


@dataclasses.dataclass(frozen=True)
class ColourJitter:
    """Changes brightness, then contrast, then saturation, each by a factor drawn from 1 - x to 1 + x.

    The factors blend the image with black, with its mean luma, and with its own luma (ITU-R BT.601). The
    order is fixed; results are clipped to 0..255 once, at the end.
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
        image = _image(record).astype(np.float32) * brightness
        mean = (image @ _LUMA).mean()
        image = mean + contrast * (image - mean)
        grey = (image @ _LUMA)[..., None]  # [H, W, 1]
        image = grey + saturation * (image - grey)
        return {**record, "image": np.clip(np.rint(image), 0, 255).astype(np.uint8)}


@dataclasses.dataclass(frozen=True)
class Normalize:
    """uint8 0..255 -> float32: ``(image / 255 - mean) / std`` for each channel. The last step."""

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
        image = _image(record) * scale.astype(np.float32) - shift.astype(np.float32)
        return {**record, "image": image}


@dataclasses.dataclass(frozen=True)
class Compose:
    """Applies transforms in order, all with one generator."""

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
        image = _image(source[position * len(source) // count]).reshape(-1, 3)
        # Integer sums are exact, so the result does not depend on the order.
        values = image.astype(np.uint64)
        total += values.sum(0)
        squares += (values * values).sum(0)
        pixels += len(image)
    mean = total / pixels
    std = np.sqrt(np.maximum(squares / pixels - mean**2, 0))
    return mean / 255, std / 255


def _image(record: Record) -> np.ndarray:
    image = record["image"]
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(
            f"image: expected uint8 [H, W, 3], got {image.dtype} {list(image.shape)}; "
            "read pictures with the readers in jaxvision.data and put Normalize last"
        )
    return image


def _geometric(record: Record, change: Callable[[np.ndarray], np.ndarray]) -> dict[str, Any]:
    """Applies ``change`` to image and mask; keeps label and name, drops what would no longer fit."""
    changed = {"image": np.ascontiguousarray(change(_image(record)))}
    if "mask" in record:
        changed["mask"] = np.ascontiguousarray(change(record["mask"]))
    return changed | {key: record[key] for key in ("label", "name") if key in record}


def _resized(record: Record, size: Sequence[int]) -> dict[str, Any]:
    height, width = size
    if min(height, width) < 1:
        raise ValueError(f"resize: got size {tuple(size)}, expected a positive height and width")

    def resize(array: np.ndarray) -> np.ndarray:
        # Pillow widens the bilinear kernel when it shrinks, which is the antialiasing.
        method = Image.Resampling.BILINEAR if array.ndim == 3 else Image.Resampling.NEAREST
        return np.asarray(Image.fromarray(array).resize((width, height), method))

    return _geometric(record, resize)
