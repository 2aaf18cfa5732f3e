"""Sequences of different lengths as one array: padded to a fixed length, so that one program serves all."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["Padded", "pad_sequences"]


class Padded(NamedTuple):
    """Sequences of one length, and what was lost.

    Attributes:
      values: int32 ``[N, T]``.
      lengths: int32 ``[N]``, of what was kept.
      cut: number of sequences that were longer than ``T`` and lost their end.
      cut_steps: number of steps that were lost.
    """

    values: np.ndarray
    lengths: np.ndarray
    cut: int
    cut_steps: int


def pad_sequences(sequences: Sequence[np.ndarray], length: int, *, value: int = 0) -> Padded:
    """Pads sequences behind their end, and cuts off what is beyond a length.

    Args:
      sequences: integers ``[n]`` each; may be empty.
      length: ``T``, at least 1.
      value: of the padding.

    Raises:
      ValueError: if ``length`` is below 1.

    >>> pad_sequences([np.array([5, 6, 7]), np.array([8])], 2).values
    array([[5, 6],
           [8, 0]], dtype=int32)
    """
    if length < 1:
        raise ValueError(f"length: got {length}, expected at least 1 step")
    values = np.full((len(sequences), length), value, np.int32)
    lengths = np.array([min(len(sequence), length) for sequence in sequences], np.int32)
    for row, sequence in zip(values, sequences, strict=True):
        row[: min(len(sequence), length)] = sequence[:length]
    beyond = [len(sequence) - length for sequence in sequences if len(sequence) > length]
    return Padded(values, lengths, len(beyond), sum(beyond))
