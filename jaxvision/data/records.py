"""What a transform is made of: checks of a record, and one change of its image and mask together."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from PIL import Image

from jaxvision.core import VOID

Record: TypeAlias = Mapping[str, Any]
Transform: TypeAlias = Callable[[Record, np.random.Generator], dict[str, Any]]

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
"""Pillow's methods by name; it widens the kernel of the last two when it shrinks, which is antialiasing."""


class Source(Protocol):
    """Random access to records: what every reader in this package is."""

    def __len__(self) -> int:
        """Number of records."""

    def __getitem__(self, index: int) -> Record:
        """The record at a position."""


def image_of(record: Record) -> np.ndarray:
    """The image of a record, uint8 [H, W, 3].

    Raises:
      ValueError: if it is of another dtype or shape, or has no pixel.
    """
    image = record["image"]
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3 or 0 in image.shape:
        raise ValueError(
            f"image: expected uint8 [H, W, 3], got {image.dtype} {list(image.shape)}; "
            "read pictures with the readers in jaxvision.data and put Normalize last"
        )
    return image


def change(record: Record, function: Callable[[np.ndarray], np.ndarray]) -> dict[str, Any]:
    """Applies a geometric change to image and mask; keeps label and name, drops what would no longer fit.

    Args:
      record: with ``image``.
      function: maps an array [H, W] or [H, W, 3] to one of another height and width.
    """
    changed = {"image": np.ascontiguousarray(function(image_of(record)))}
    if "mask" in record:
        changed["mask"] = np.ascontiguousarray(function(record["mask"]))
    return changed | {key: record[key] for key in ("label", "name") if key in record}


def check_size(name: str, size: Sequence[int]) -> None:
    """Raises a ValueError in the name of a transform unless ``size`` is two positive numbers."""
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"{name}: got size {tuple(size)}, expected a positive height and width")


def check_interpolation(name: str, interpolation: str) -> None:
    """Raises a ValueError in the name of a transform unless it is a name in ``INTERPOLATIONS``."""
    if interpolation not in INTERPOLATIONS:
        known = ", ".join(map(repr, INTERPOLATIONS))
        raise ValueError(f"{name}: got interpolation {interpolation!r}, expected one of {known}")


def check_probability(name: str, probability: float) -> None:
    """Raises a ValueError in the name of a transform for a number that is no probability."""
    if not 0 <= probability <= 1:
        raise ValueError(f"{name}: got probability {probability}, expected 0..1")


def resized(record: Record, size: Sequence[int], *, interpolation: str = "bilinear") -> dict[str, Any]:
    """Resizes to (H, W): the image as told, the mask by nearest neighbour.

    Raises:
      ValueError: if the size is not positive.
    """
    check_size("resize", size)
    height, width = size

    def resize(array: np.ndarray) -> np.ndarray:
        method = INTERPOLATIONS[interpolation if array.ndim == 3 else "nearest"]
        return np.asarray(Image.fromarray(array).resize((width, height), method))

    return change(record, resize)


def padded(array: np.ndarray, margins: Sequence[tuple[int, int]], fill: Sequence[int]) -> np.ndarray:
    """Adds margins: of one colour to an image [H, W, 3], of void to a mask [H, W].

    Args:
      array: uint8.
      margins: pixels (before, after) of rows and of columns.
      fill: RGB.
    """
    (top, bottom), (left, right) = margins
    height, width = array.shape[:2]
    value = np.array(fill if array.ndim == 3 else VOID, array.dtype)
    shape = (top + height + bottom, left + width + right, *array.shape[2:])
    whole = np.broadcast_to(value, shape).copy()
    whole[top : top + height, left : left + width] = array
    return whole
