"""Several labelled sources as one."""

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxvision.data.classification_sources import LabelledSource

__all__ = ["Joined"]


class Joined:
    """The records of one source after those of another.

    Args:
      sources: at least one, all of the same classes.

    Raises:
      ValueError: if there is none, or their classes differ.
    """

    def __init__(self, sources: Sequence[LabelledSource]) -> None:
        names = list(dict.fromkeys(tuple(source.class_names) for source in sources))
        if len(names) != 1:
            raise ValueError(
                f"expected sources of the same classes, got {len(names)} lists of names: {names}"
            )
        self._sources = tuple(sources)
        self._class_names = names[0]
        self._ends = np.cumsum([len(source) for source in sources])

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names by class index."""
        return self._class_names

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self._class_names)

    @property
    def labels(self) -> np.ndarray:
        """int32 [n], the class of each record."""
        return np.concatenate([source.labels for source in self._sources])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        position = range(len(self))[operator.index(index)]
        which = int(np.searchsorted(self._ends, position, side="right"))
        start = int(self._ends[which - 1]) if which else 0
        return self._sources[which][position - start]
