"""Parts of a source, with the same share of each class in every part."""

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxvision.core import name_some
from jaxvision.data.classification_sources import LabelledRecords, LabelledSource

__all__ = ["Subset", "stratified_folds", "stratified_split"]


class Subset(LabelledRecords):
    """The records of a source at some positions, in the order given; classes stay those of the source.

    Args:
      source: has ``class_names`` and ``labels``.
      indices: integers [n], positions in the source from 0; one may come twice.

    Raises:
      ValueError: if there is none, or one is not a position of the source.
    """

    def __init__(self, source: LabelledSource, indices: np.ndarray) -> None:
        indices = np.asarray(indices)
        if indices.ndim != 1 or indices.size == 0 or indices.dtype.kind not in "iu":
            raise ValueError(
                f"indices: got {indices.dtype} {list(indices.shape)}, expected integers [n], n > 0"
            )
        if indices.min() < 0 or indices.max() >= len(source):
            raise ValueError(
                f"indices: got {indices.min()} to {indices.max()} of a source of {len(source)} records, "
                f"expected 0..{len(source) - 1}"
            )
        super().__init__(source.class_names, source.labels[indices])
        self._source = source
        self._indices = indices.astype(np.int64)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        return self._source[int(self._indices[operator.index(index)])]


def stratified_split(
    labels: np.ndarray, fraction: float, *, rng: np.random.Generator, class_names: Sequence[str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Splits positions in two, so that each class gives about ``fraction`` of its members to the second part.

    Each class of n members gives ``round(fraction * n)``, but at least one and not all.

    Args:
      labels: integers [N].
      fraction: share of the second part, more than 0 and less than 1.
      rng: chooses the members.
      class_names: for the message; by default the labels themselves.

    Returns:
      Positions of the first and of the second part, int64, ascending; together each position once.

    Raises:
      ValueError: if the fraction is out of its range, or a class has fewer than 2 members.

    >>> first, second = stratified_split(np.array([0, 0, 1, 1]), 0.5, rng=np.random.default_rng(0))
    >>> len(first), len(second)
    (2, 2)
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction: got {fraction}, expected more than 0 and less than 1")
    taken = []
    for members in _members(labels, 2, "to split", class_names):
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        taken.append(rng.permutation(members)[:count])
    second = np.sort(np.concatenate(taken))
    return np.setdiff1d(np.arange(len(labels)), second), second


def stratified_folds(
    labels: np.ndarray, folds: int, *, rng: np.random.Generator, class_names: Sequence[str] | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Splits positions for a cross-validation: each is in the second part of exactly one fold.

    The members of a class in the second parts differ by at most one between folds, and so do the sizes of
    the second parts.

    Args:
      labels: integers [N].
      folds: number of folds, at least 2.
      rng: chooses the members.
      class_names: for the message; by default the labels themselves.

    Returns:
      For each fold the positions to train on and to validate on, int64, ascending.

    Raises:
      ValueError: if there are fewer than 2 folds, or a class has fewer members than folds.

    >>> parts = stratified_folds(np.array([0, 1, 0, 1]), 2, rng=np.random.default_rng(0))
    >>> sorted(int(i) for _, second in parts for i in second)
    [0, 1, 2, 3]
    """
    if folds < 2:
        raise ValueError(f"folds: got {folds}, expected at least 2")
    # Dealt out like cards, class after class: no fold gets two more of a class, or of all, than another.
    classes = _members(labels, folds, "for the folds", class_names)
    dealt = np.concatenate([rng.permutation(members) for members in classes])
    fold_of = np.empty(len(labels), np.int64)
    fold_of[dealt] = np.arange(len(labels)) % folds
    return [(np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)) for fold in range(folds)]


def _members(
    labels: np.ndarray, least: int, purpose: str, class_names: Sequence[str] | None
) -> list[np.ndarray]:
    """Positions of each class that occurs."""
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.size == 0 or labels.dtype.kind not in "iu":
        raise ValueError(f"labels: got {labels.dtype} {list(labels.shape)}, expected integers [N], N > 0")
    classes, counts = np.unique(labels, return_counts=True)
    few = [
        f"class {label if class_names is None else class_names[label]} has {count}"
        for label, count in zip(classes, counts, strict=True)
        if count < least
    ]
    if few:
        raise ValueError(
            f"labels: {name_some(few)}, expected at least {least} members of each class {purpose}; add "
            "members, merge classes or take fewer folds"
        )
    return [np.flatnonzero(labels == label) for label in classes]
