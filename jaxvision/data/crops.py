"""Crops, and the sizes that classification takes, equal to torchvision's on Pillow pictures.

A mask moves along, as in :mod:`jaxvision.data.transforms`: by nearest neighbour, and void where nothing was.
"""

import dataclasses
import math
from typing import Any

import numpy as np

from jaxvision.data.records import (
    Record,
    Transform,
    change,
    check_interpolation,
    check_size,
    image_of,
    padded,
    resized,
)
from jaxvision.data.transforms import Compose, Normalize, Resize, compose
from jaxvision.weights import Preprocessing

__all__ = ["CenterCrop", "RandomCrop", "RandomResizedCrop", "ResizeShorterSide", "eval_transform"]

MOST_PIXELS = 2**27
"""Of a resized image: 400 MB. What has more is a line, not a picture, as one of 1 x 20,000 pixels."""

ATTEMPTS = 10
"""How often the sides of a random part are drawn before they are given up; torchvision's number."""


@dataclasses.dataclass(frozen=True)
class RandomCrop:
    """Cuts a window of ``size`` (H, W) at a random place.

    Where the image is smaller than the window, it is put at a random place in it; the rest of the image is
    ``fill``, of the mask void.

    Attributes:
      size: (H, W).
      padding: pixels of ``fill`` put around the image first: 4 for CIFAR (He et al. 2016, section 4.2).
      fill: RGB, 0..255; by default the ImageNet mean, which normalises to about zero.
    """

    size: tuple[int, int]
    _: dataclasses.KW_ONLY
    padding: int = 0
    fill: tuple[int, int, int] = (124, 116, 104)

    def __post_init__(self) -> None:
        check_size("RandomCrop", self.size)
        if self.padding < 0:
            raise ValueError(f"RandomCrop: got padding {self.padding}, expected 0 or more")

    def __call__(self, record: Record, rng: np.random.Generator) -> dict[str, Any]:
        """Transforms one record."""
        frame = ((self.padding, self.padding),) * 2
        sides = [side + 2 * self.padding for side in image_of(record).shape[:2]]
        spare = [have - want for have, want in zip(sides, self.size, strict=True)]
        offsets = [int(rng.integers(min(room, 0), max(room, 0) + 1)) for room in spare]
        # A positive offset cuts off the image's start; a negative one leaves a margin in the window.
        before = [max(-offset, 0) for offset in offsets]
        top, left = (max(offset, 0) for offset in offsets)

        def crop(array: np.ndarray) -> np.ndarray:
            whole = padded(array, frame, self.fill) if self.padding else array
            part = whole[top : top + self.size[0], left : left + self.size[1]]
            margins = [
                (margin, want - margin - have)
                for margin, want, have in zip(before, self.size, part.shape[:2], strict=True)
            ]
            return padded(part, margins, self.fill)

        return change(record, crop)


@dataclasses.dataclass(frozen=True)
class CenterCrop:
    """Cuts out the middle; an image smaller than that is put in the middle of ``fill``, a mask of void.

    Attributes:
      size: (H, W).
      fill: RGB, 0..255; black, as torchvision's.
    """

    size: tuple[int, int]
    _: dataclasses.KW_ONLY
    fill: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self) -> None:
        check_size("CenterCrop", self.size)

    def __call__(self, record: Record, rng: np.random.Generator) -> dict[str, Any]:
        """Transforms one record."""

        def crop(array: np.ndarray) -> np.ndarray:
            lacking = [max(want - have, 0) for have, want in zip(array.shape[:2], self.size, strict=True)]
            if any(lacking):
                array = padded(array, [(lack // 2, lack - lack // 2) for lack in lacking], self.fill)
            # Of an odd rest torchvision leaves the half that round() takes: the even number.
            top, left = (
                round((have - want) / 2) for have, want in zip(array.shape[:2], self.size, strict=True)
            )
            return array[top : top + self.size[0], left : left + self.size[1]]

        return change(record, crop)


@dataclasses.dataclass(frozen=True)
class ResizeShorterSide:
    """Resizes the shorter side to ``size`` and the longer one in proportion, rounded down.

    An image so long that the result would have more than ``MOST_PIXELS`` pixels raises a ValueError.

    Attributes:
      size: pixels of the shorter side.
      interpolation: "bilinear", "bicubic" or "nearest", antialiased as Pillow's.
    """

    size: int
    _: dataclasses.KW_ONLY
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        check_interpolation("ResizeShorterSide", self.interpolation)
        if self.size < 1:
            raise ValueError(f"ResizeShorterSide: got size {self.size}, expected at least 1")

    def __call__(self, record: Record, rng: np.random.Generator) -> dict[str, Any]:
        """Transforms one record."""
        height, width = image_of(record).shape[:2]
        longer = int(self.size * max(height, width) / min(height, width))
        if longer * self.size > MOST_PIXELS:
            raise ValueError(
                f"an image of {height} x {width} would be resized to {self.size} x {longer} pixels; cut out "
                "the part that counts"
            )
        size = (longer, self.size) if height > width else (self.size, longer)
        return resized(record, size, interpolation=self.interpolation)


@dataclasses.dataclass(frozen=True)
class RandomResizedCrop:
    """Cuts out a random part of random proportions and resizes it to ``size``.

    The part's area, as a share of the image's, is drawn uniformly from ``scale``, its width over its height
    log-uniformly from ``ratio``. If ten draws do not fit into the image, the middle of it is taken, as large
    as ``ratio`` allows.

    Attributes:
      size: (H, W) of the result.
      scale: (least, greatest) share of the area.
      ratio: (least, greatest) width over height.
      interpolation: "bilinear", "bicubic" or "nearest", antialiased as Pillow's.

    References:
      Szegedy et al. 2015, "Going Deeper with Convolutions", section 6. The draws are torchvision's.
    """

    size: tuple[int, int]
    _: dataclasses.KW_ONLY
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        check_size("RandomResizedCrop", self.size)
        check_interpolation("RandomResizedCrop", self.interpolation)
        check_part("RandomResizedCrop", self.scale, self.ratio)

    def draw(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        """The part taken of an image of this size: top, left, height, width."""
        for _ in range(ATTEMPTS):
            columns, rows = draw_sides(height * width, self.scale, self.ratio, rng)
            if 0 < columns <= width and 0 < rows <= height:
                top = int(rng.integers(height - rows + 1))
                return top, int(rng.integers(width - columns + 1)), rows, columns
        rows = min(height, max(1, round(width / self.ratio[0])))
        columns = min(width, max(1, round(height * self.ratio[1])))
        return (height - rows) // 2, (width - columns) // 2, rows, columns

    def __call__(self, record: Record, rng: np.random.Generator) -> dict[str, Any]:
        """Transforms one record."""
        height, width = image_of(record).shape[:2]
        top, left, rows, columns = self.draw(height, width, rng)
        part = change(record, lambda array: array[top : top + rows, left : left + columns])
        return resized(part, self.size, interpolation=self.interpolation)


def draw_sides(
    area: int, scale: tuple[float, float], ratio: tuple[float, float], rng: np.random.Generator
) -> tuple[int, int]:
    """Sides of a part of an image, in pixels, rounded; either may be 0 or longer than the image.

    Args:
      area: pixels of the image.
      scale: bounds of the part's share of the area, drawn uniformly.
      ratio: bounds of the first side over the second, drawn log-uniformly.
      rng: for both.
    """
    part = area * rng.uniform(*scale)
    proportion = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
    return round(math.sqrt(part * proportion)), round(math.sqrt(part / proportion))


def check_part(name: str, scale: tuple[float, float], ratio: tuple[float, float]) -> None:
    """Raises a ValueError in the name of a transform for bounds that :func:`draw_sides` cannot use."""
    if not 0 <= scale[0] <= scale[1] <= 1 or scale[1] == 0:
        raise ValueError(f"{name}: got scale {scale}, expected 0 <= least <= greatest <= 1, not both 0")
    if not 0 < ratio[0] <= ratio[1]:
        raise ValueError(f"{name}: got ratio {ratio}, expected 0 < least <= greatest")


def eval_transform(preprocessing: Preprocessing) -> Compose:
    """What published weights expect: resized, middle cut out, normalised.

    Equal to the transforms that torchvision publishes with its weights, on Pillow pictures.

    Args:
      preprocessing: of an entry of the zoo.

    Raises:
      ValueError: if it is of clips, not of three channels, or made in another way than all weights for single
        images: without antialiasing, or with channels in another order.

    >>> transform = eval_transform(Preprocessing(size=(224, 224), resize=256))
    >>> record = {"image": np.zeros((300, 500, 3), np.uint8), "label": np.int32(7)}
    >>> result = transform(record, np.random.default_rng(0))
    >>> result["image"].shape, result["image"].dtype, int(result["label"])
    ((224, 224, 3), dtype('float32'), 7)
    """
    if preprocessing.frames is not None or len(preprocessing.mean) != 3:
        raise ValueError(
            f"eval_transform: got inputs of shape {list(preprocessing.input_shape)}, expected single images "
            "[H, W, 3]"
        )
    if not preprocessing.antialias or preprocessing.channel_order != "rgb":
        raise ValueError(
            "eval_transform: expected antialiasing, and channels in the order rgb, got "
            f"{preprocessing}; compose the transforms for it one by one"
        )
    interpolation = preprocessing.interpolation
    red, green, blue = preprocessing.mean
    red_std, green_std, blue_std = preprocessing.std
    resize = preprocessing.resize
    steps: list[Transform] = []
    if isinstance(resize, tuple):
        steps = [Resize(resize, interpolation=interpolation)]
    elif resize is not None:
        steps = [ResizeShorterSide(resize, interpolation=interpolation)]
    return compose(
        *steps,
        CenterCrop(preprocessing.size),
        Normalize(mean=(red, green, blue), std=(red_std, green_std, blue_std)),
    )
