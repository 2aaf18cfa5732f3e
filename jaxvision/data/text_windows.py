"""A long text as rows that are read side by side, window after window: truncated back-propagation's batches.

A batch is a dict of numpy arrays:

* ``tokens`` int32 [N, T], what is read;
* ``targets`` int32 [N, T], the token that follows each;
* ``where`` bool [N, T], False for padding behind the end of a row or of the text;
* ``starts`` bool [N], True where a row begins: the state that it is read with begins at zero.
"""

from collections.abc import Iterator

import numpy as np

from jaxvision.data.positions import array_checksum, check_position

__all__ = ["TextWindows", "ordered_windows"]

Batch = dict[str, np.ndarray]


class TextWindows(Iterator[Batch]):
    """Batches without end for training; each row goes on where it ended in the batch before.

    The text is cut into equal rows. An epoch reads all of them once, in windows of equal length; what is left
    behind the last whole window of a row, and behind the last row, is not read. Every epoch is the same. The
    rows of all shards, one below the other, are those of one shard of as many rows, so that a position fits
    any number of shards.

    Args:
      tokens: int32 ``[L]``, the whole text.
      batch_size: N, rows in a batch of this shard.
      window: T, tokens of a row in a batch: how far back gradients go.
      shard_index: which shard this process reads.
      shard_count: number of shards.

    Attributes:
      batches_per_epoch: number of batches in an epoch.
      shard_count: as given.

    Raises:
      ValueError: if the text is too short for one batch, or an argument is out of its range.

    >>> windows = TextWindows(np.arange(9, dtype=np.int32), batch_size=2, window=2)
    >>> [next(windows)["tokens"].tolist() for _ in range(3)]
    [[[0, 1], [4, 5]], [[2, 3], [6, 7]], [[0, 1], [4, 5]]]
    """

    def __init__(
        self,
        tokens: np.ndarray,
        *,
        batch_size: int,
        window: int,
        shard_index: int = 0,
        shard_count: int = 1,
    ) -> None:
        _check_arguments(batch_size, window, shard_index, shard_count)
        rows = batch_size * shard_count
        self._length = (len(tokens) - 1) // rows
        self.batches_per_epoch = self._length // window
        if self.batches_per_epoch < 1:
            raise ValueError(
                f"text: {len(tokens)} tokens, expected at least {rows * window + 1} for a batch of {rows} "
                f"rows of {window} tokens and the one that follows; give more text, or a smaller batch or "
                "window"
            )
        self.shard_count = shard_count
        self._tokens = tokens
        self._rows = np.arange(shard_index * batch_size, (shard_index + 1) * batch_size)
        self._window = window
        self._identity = {
            "num_tokens": len(tokens),
            "checksum": array_checksum(tokens),
            "batch_size": rows,
            "window": window,
        }
        self._next_batch = 0

    def __next__(self) -> Batch:
        first = self._next_batch % self.batches_per_epoch * self._window
        self._next_batch += 1
        return _cut(self._tokens, self._rows, self._length, first, self._window)

    def get_state(self) -> dict[str, int]:
        """The position, as a dict of ints that goes into JSON."""
        return {"next_batch": self._next_batch, **self._identity}

    def set_state(self, state: dict[str, int]) -> None:
        """Goes to a position that :meth:`get_state` gave.

        Raises:
          ValueError: if it is of another text, window, or batch size over all shards.
        """
        check_position(state, self._identity, of="text or batches", settings="text and the settings")
        self._next_batch = int(state["next_batch"])

    def close(self) -> None:
        """Nothing is open; batches of images have files and workers to close."""


def ordered_windows(
    tokens: np.ndarray, *, batch_size: int, window: int, shard_index: int = 0, shard_count: int = 1
) -> Iterator[Batch]:
    """Batches for evaluation: every token but the first is a target once, over all shards.

    Args:
      tokens: int32 ``[L]``, the whole text, of at least two tokens.
      batch_size: N, rows in a batch of this shard. Each row begins with a state of zeros, so that a text in
        fewer rows is predicted a little better; one row reads it as it is.
      window: T, tokens of a row in a batch; the state goes on, so that it changes nothing in the sum.
      shard_index: as :class:`TextWindows`.
      shard_count: as :class:`TextWindows`.

    Raises:
      ValueError: if there are fewer than two tokens, or an argument is out of its range.

    >>> batches = ordered_windows(np.arange(6, dtype=np.int32), batch_size=2, window=2)
    >>> [batch["targets"][batch["where"]].tolist() for batch in batches]
    [[1, 2, 4, 5], [3]]
    """
    _check_arguments(batch_size, window, shard_index, shard_count)
    if len(tokens) < 2:
        raise ValueError(f"text: {len(tokens)} token(s), expected at least two: the first predicts the next")
    length = -(-(len(tokens) - 1) // (batch_size * shard_count))
    rows = np.arange(shard_index * batch_size, (shard_index + 1) * batch_size)
    return (_cut(tokens, rows, length, first, window) for first in range(0, length, window))


def _cut(tokens: np.ndarray, rows: np.ndarray, length: int, first: int, window: int) -> Batch:
    """The window of some rows of so many tokens that begins at a place of the rows."""
    steps = np.arange(first, first + window)
    places = rows[:, None] * length + steps  # [N, T]
    where = (steps < length) & (places < len(tokens) - 1)
    places = np.where(where, places, 0)
    return {
        "tokens": np.asarray(tokens[places], np.int32),
        "targets": np.asarray(tokens[places + 1], np.int32),
        "where": where,
        "starts": np.full(len(rows), first == 0),
    }


def _check_arguments(batch_size: int, window: int, shard_index: int, shard_count: int) -> None:
    if min(batch_size, window) < 1:
        raise ValueError(f"batch_size, window: got {batch_size} and {window}, expected 1 or more")
    if not 0 <= shard_index < shard_count:
        raise ValueError(f"shard_index: got {shard_index} of {shard_count}, expected 0 <= index < count")
