"""A part of a segmentation source."""

import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from jaxvision.data.file_lists import hash_split

__all__ = ["SegmentationSource", "Selection", "split_by_hash"]


class SegmentationSource(Protocol):
    """Random access to records with ``image``, ``mask`` and ``name``: what every segmentation reader is."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names by class index."""

    @property
    def num_classes(self) -> int:
        """Number of classes, void not counted."""

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each record."""

    @property
    def broken(self) -> tuple[str, ...]:
        """What is wrong with the records that were left out when the source was opened."""

    def picture_of(self, index: int) -> Path:
        """The file that holds the picture of a record."""

    def __len__(self) -> int:
        """Number of records."""

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        """The record at a position."""


class Selection:
    """The records of a source at some positions, in the order given; classes stay those of the source.

    Args:
      source: is not copied.
      indices: positions in the source, from 0.
      broken: what is wrong with records that were left out.

    Raises:
      ValueError: if there is none, or one is not a position of the source.
    """

    def __init__(
        self, source: SegmentationSource, indices: Sequence[int], *, broken: Sequence[str] = ()
    ) -> None:
        self._source = source
        self._indices = tuple(operator.index(index) for index in indices)
        self.broken = tuple(broken)
        if not self._indices:
            raise ValueError(
                f"no record left of {len(source)}, expected at least one"
                + "".join(f"\n  {problem}" for problem in self.broken[:5])
            )
        if not 0 <= min(self._indices) <= max(self._indices) < len(source):
            raise ValueError(
                f"indices: got {min(self._indices)} to {max(self._indices)}, expected 0..{len(source) - 1}"
            )

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names by class index."""
        return self._source.class_names

    @property
    def num_classes(self) -> int:
        """Number of classes, void not counted."""
        return self._source.num_classes

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each record."""
        names = self._source.names
        return tuple(names[index] for index in self._indices)

    def picture_of(self, index: int) -> Path:
        """The file that holds the picture of a record."""
        return self._source.picture_of(self._indices[index])

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        return self._source[self._indices[operator.index(index)]]


def split_by_hash(
    source: SegmentationSource, *, val_fraction: float = 0.2, seed: int = 0
) -> tuple[Selection, Selection]:
    """Splits a source by a hash of names and seed, the same on every machine, as ``ImageMaskFolder`` does.

    Args:
      source: what was left out of it when it was opened stays with the first part.
      val_fraction: share of the second part, more than 0 and less than 1; either part gets at least one.
      seed: another seed gives another split.

    Returns:
      The part to train on and the part to validate on.

    Raises:
      ValueError: if the fraction is out of its range, there are fewer than 2 records, or two of one name.
    """
    positions = {name: index for index, name in enumerate(source.names)}
    if len(positions) != len(source):
        raise ValueError(f"{len(source)} records but {len(positions)} names, expected a name for each")
    names = source.names
    train = hash_split(names, "train", val_fraction=val_fraction, seed=seed)
    val = hash_split(names, "val", val_fraction=val_fraction, seed=seed)
    return (
        Selection(source, [positions[name] for name in train], broken=source.broken),
        Selection(source, [positions[name] for name in val]),
    )
