"""What is in the masks of a source: pixels and images of each class, and a guard against strange values."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxvision.core import VOID
from jaxvision.data.records import Record, Source

__all__ = ["CheckedMasks", "ClassCounts", "MaskCounts", "check_foreground", "count_classes"]


class ClassCounts(NamedTuple):
    """How often each class is in a set of masks.

    Attributes:
      pixels: int64 [K], pixels of the class.
      image_pixels: int64 [K], pixels of all classes (void is none) in the images that hold this one.
      images: int64 [K], images that hold the class.
      void: pixels of no class.
    """

    pixels: np.ndarray
    image_pixels: np.ndarray
    images: np.ndarray
    void: int


class MaskCounts:
    """Counts of all values of masks, one mask after the other.

    Attributes:
      pixels: int64 [256], pixels of each value.
      image_pixels: int64 [256], pixels that are not void in the images that hold this value.
      images: int64 [256], images that hold it.
    """

    def __init__(self) -> None:
        self.pixels, self.image_pixels, self.images = (np.zeros(VOID + 1, np.int64) for _ in range(3))

    def add(self, mask: np.ndarray) -> None:
        """Counts a mask of values 0..255."""
        found = np.bincount(mask.ravel(), minlength=VOID + 1)
        self.pixels += found
        self.image_pixels += np.where(found > 0, found[:VOID].sum(), 0)
        self.images += found > 0

    def of_classes(self, num_classes: int) -> ClassCounts:
        """The counts of the first values, and of void."""
        pixels, image_pixels, images = (
            counts[:num_classes] for counts in (self.pixels, self.image_pixels, self.images)
        )
        return ClassCounts(pixels, image_pixels, images, int(self.pixels[VOID]))


def count_classes(
    source: Source,
    num_classes: int,
    *,
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ClassCounts:
    """Counts the classes of a source in one pass, one record in memory at a time.

    Args:
      source: records with ``mask``.
      num_classes: K.
      limit: how many records to read, spread evenly over the source; all by default.
      progress: called as ``progress(done, total)`` after each record.

    Raises:
      ValueError: if the source is empty, ``limit`` is not positive, or a mask holds a value that is neither a
        class nor void.

    >>> counts = count_classes([{"mask": np.array([[0, 1], [1, 255]], np.uint8)}], 3)
    >>> counts.pixels.tolist(), counts.image_pixels.tolist(), counts.images.tolist(), counts.void
    ([1, 2, 0], [3, 3, 0], [1, 1, 0], 1)
    """
    if len(source) == 0 or (limit is not None and limit < 1):
        raise ValueError(f"count_classes: got {len(source)} records and limit {limit}, expected at least 1")
    total = len(source) if limit is None else min(limit, len(source))
    counts = MaskCounts()
    for position in range(total):
        index = position * len(source) // total
        counts.add(_checked_mask(source[index], index, num_classes))
        if progress is not None:
            progress(position + 1, total)
    return counts.of_classes(num_classes)


def check_foreground(source: Any, *, samples: int = 50) -> bool:
    """Looks at some masks of a source for the commonest mistake: an object that was saved as 255.

    Where they hold nothing but index 0 and 255, the others are read too, up to the first with another class:
    a rare class beside void is no mistake.

    Args:
      source: records with ``mask``, with ``num_classes`` of its own.
      samples: how many records to read at first, spread evenly.

    Returns:
      Whether what was looked at has a class other than index 0, or there is no other.

    Raises:
      ValueError: if there are two classes or more, and all masks hold nothing but index 0 and void, and both.
    """
    counts = count_classes(source, source.num_classes, limit=samples)
    if source.num_classes == 1 or counts.pixels[1:].any():
        return True
    if not counts.void:
        return False
    for index in range(len(source)):
        mask = _checked_mask(source[index], index, source.num_classes)
        if ((mask > 0) & (mask != VOID)).any():
            return True
    raise ValueError(
        f"the masks hold nothing but index 0 and void (255), though there are {source.num_classes} classes: "
        "save a class as its index (1, 2, ...), not as 255"
    )


class CheckedMasks:
    """A source whose masks are looked at as they are read, for a compiled function cannot raise.

    Args:
      source: records with ``mask``, and ``num_classes`` and ``class_names`` of its own.
    """

    def __init__(self, source: Any) -> None:
        self.source = source
        self.num_classes: int = source.num_classes
        self.class_names: tuple[str, ...] = tuple(source.class_names)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Record:
        record: Record = self.source[index]
        _checked_mask(record, index, self.num_classes)
        return record


def _checked_mask(record: Record, index: int, num_classes: int) -> np.ndarray:
    mask = record["mask"]
    if not np.issubdtype(mask.dtype, np.integer):
        raise ValueError(f"{_name(record, index)}: a mask of {mask.dtype}, expected integer class indices")
    wrong = ((mask < 0) | (mask >= num_classes)) & (mask != VOID)
    if wrong.any():
        values = ", ".join(str(value) for value in np.unique(mask[wrong])[:5])
        raise ValueError(
            f"{_name(record, index)}: class index out of range: {values}, expected 0..{num_classes - 1} or "
            f"{VOID} for void; check the class names, or relabel the mask"
        )
    return mask


def _name(record: Record, index: int) -> str:
    return str(record.get("name", f"record {index}"))
