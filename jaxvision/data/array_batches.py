"""Batches of arrays that are in memory whole: shuffled and resumable, or each row once in order.

For what is small and prepared once, such as encoded texts. Pictures, which are read and varied one by one, go
through :func:`jaxvision.data.train_batches`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jaxvision.data.positions import EpochOrder, check_position

__all__ = ["ArrayBatches", "ordered_array_batches"]

Batch = dict[str, np.ndarray]


class ArrayBatches(Iterator[Batch]):
    """Shuffled batches of rows without end, of which the position can be saved.

    Each epoch is shuffled anew and cut into batches; what is left after the last full one is dropped. A batch
    depends on the seed and its number alone.

    Args:
      arrays: ``[N, ...]`` each, by name; rows belong together.
      batch_size: rows a batch.
      seed: of the orders, 0 or more.

    Attributes:
      batches_per_epoch: number of batches in an epoch.

    Raises:
      ValueError: if the arrays differ in N, or N is less than a batch.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], *, batch_size: int, seed: int) -> None:
        count = _rows(arrays)
        if not 1 <= batch_size <= count:
            raise ValueError(
                f"batch_size: got {batch_size} for {count} examples, expected 1 to {count}; lower the batch "
                "size or give more data"
            )
        self._arrays = dict(arrays)
        self._identity = {"seed": seed, "num_records": count, "batch_size": batch_size}
        self._next_batch = 0
        self._order = EpochOrder(count, seed=seed)
        self.batches_per_epoch = count // batch_size

    def __next__(self) -> Batch:
        epoch, place = divmod(self._next_batch, self.batches_per_epoch)
        size = self._identity["batch_size"]
        rows = self._order(epoch)[place * size : (place + 1) * size]
        self._next_batch += 1
        batch = {name: array[rows] for name, array in self._arrays.items()}
        return {**batch, "where": np.ones(size, bool)}

    def get_state(self) -> dict[str, int]:
        """The position, as a dict of ints that goes into JSON or a checkpoint."""
        return {"next_batch": self._next_batch, **self._identity}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes to a position: the next batches are those that followed ``get_state``.

        Raises:
          ValueError: if the state is of batches made with another seed, batch size or number of rows.
        """
        check_position(state, self._identity)
        self._next_batch = int(state["next_batch"])

    def close(self) -> None:
        """Nothing is open; the loop closes batches of every kind."""


def ordered_array_batches(arrays: Mapping[str, np.ndarray], *, batch_size: int) -> Iterator[Batch]:
    """Every row once, in order; the last batch is padded with rows of zeros, where ``where`` is False.

    Args:
      arrays: ``[N, ...]`` each, by name.
      batch_size: rows a batch.

    Raises:
      ValueError: if the arrays differ in N, there is no row, or ``batch_size`` is below 1.
    """
    count = _rows(arrays)
    if batch_size < 1 or count < 1:
        raise ValueError(f"batch_size: got {batch_size} for {count} examples, expected at least 1 of both")
    for start in range(0, count, batch_size):
        found = min(batch_size, count - start)
        batch = {
            name: np.pad(
                array[start : start + found], [(0, batch_size - found)] + [(0, 0)] * (array.ndim - 1)
            )
            for name, array in arrays.items()
        }
        yield {**batch, "where": np.arange(batch_size) < found}


def _rows(arrays: Mapping[str, np.ndarray]) -> int:
    sizes = {len(array) for array in arrays.values()}
    if len(sizes) != 1:
        raise ValueError(f"arrays: expected one number of rows, got {sorted(sizes)}")
    return sizes.pop()
