"""Several labelled sources as one."""

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxvision.data.classification_sources import LabelledRecords, LabelledSource

__all__ = ["Joined"]


class Joined(LabelledRecords):
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
        super().__init__(names[0], np.concatenate([source.labels for source in sources]))
        self._sources = tuple(sources)
        self._ends = np.cumsum([len(source) for source in sources])

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        position = range(len(self))[operator.index(index)]
        which = int(np.searchsorted(self._ends, position, side="right"))
        start = int(self._ends[which - 1]) if which else 0
        return self._sources[which][position - start]
