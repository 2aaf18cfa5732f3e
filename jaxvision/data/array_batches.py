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
    depends on the seed and its number alone. The parts of all shards, end to end, are the batch of one shard
    of as many rows; so a position fits any number of shards.

    Args:
      arrays: ``[N, ...]`` each, by name; rows belong together.
      batch_size: rows in a batch of this shard.
      seed: of the orders, 0 or more.
      shard_index: which shard this process reads.
      shard_count: number of shards.

    Attributes:
      batches_per_epoch: number of batches in an epoch.
      shard_count: as given.

    Raises:
      ValueError: if the arrays differ in N, N is less than a batch of all shards, or there is no such shard.
    """

    def __init__(
        self,
        arrays: Mapping[str, np.ndarray],
        *,
        batch_size: int,
        seed: int,
        shard_index: int = 0,
        shard_count: int = 1,
    ) -> None:
        count, whole = _rows(arrays), batch_size * shard_count
        _check_shard(shard_index, shard_count)
        if not 1 <= whole <= count:
            raise ValueError(
                f"batch_size: got {whole} for {count} examples, expected 1 to {count}; lower the batch "
                "size or give more data"
            )
        self.shard_count = shard_count
        self._arrays = dict(arrays)
        self._identity = {"seed": seed, "num_records": count, "batch_size": whole}
        self._own = np.arange(shard_index * batch_size, (shard_index + 1) * batch_size)  # of a batch's rows
        self._next_batch = 0
        self._order = EpochOrder(count, seed=seed)
        self.batches_per_epoch = count // whole

    def __next__(self) -> Batch:
        epoch, place = divmod(self._next_batch, self.batches_per_epoch)
        rows = self._order(epoch)[place * self._identity["batch_size"] + self._own]
        self._next_batch += 1
        batch = {name: array[rows] for name, array in self._arrays.items()}
        return {**batch, "where": np.ones(len(rows), bool)}

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


def ordered_array_batches(
    arrays: Mapping[str, np.ndarray], *, batch_size: int, shard_index: int = 0, shard_count: int = 1
) -> Iterator[Batch]:
    """Every row once over all shards, in order; padded with rows of zeros, where ``where`` is False.

    All shards give the same number of batches, so that processes stay in step.

    Args:
      arrays: ``[N, ...]`` each, by name.
      batch_size: rows in a batch of this shard.
      shard_index: as :class:`ArrayBatches`.
      shard_count: as :class:`ArrayBatches`.

    Raises:
      ValueError: if the arrays differ in N, there is no row, ``batch_size`` is below 1, or there is no such
        shard.
    """
    _check_shard(shard_index, shard_count)
    count = _rows(arrays)
    if batch_size < 1 or count < 1:
        raise ValueError(f"batch_size: got {batch_size} for {count} examples, expected at least 1 of both")
    for first in range(0, count, batch_size * shard_count):
        start = first + shard_index * batch_size
        found = min(max(count - start, 0), batch_size)
        batch = {
            name: np.pad(
                array[start : start + found], [(0, batch_size - found)] + [(0, 0)] * (array.ndim - 1)
            )
            for name, array in arrays.items()
        }
        yield {**batch, "where": np.arange(batch_size) < found}


def _check_shard(shard_index: int, shard_count: int) -> None:
    if not 0 <= shard_index < shard_count:
        raise ValueError(f"shard_index: got {shard_index} of {shard_count}, expected 0 <= index < count")


def _rows(arrays: Mapping[str, np.ndarray]) -> int:
    sizes = {len(array) for array in arrays.values()}
    if len(sizes) != 1:
        raise ValueError(f"arrays: expected one number of rows, got {sorted(sizes)}")
    return sizes.pop()
