"""What batches of every kind have in common: the order of an epoch, and the check of a saved position."""

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["EpochOrder", "array_checksum", "check_position"]


class EpochOrder:
    """Numbers in a new order each epoch, which depends on the seed and the epoch alone.

    The order that was asked for last is kept.

    Args:
      size: N, how many numbers there are.
      seed: of the orders, 0 or more.

    >>> order = EpochOrder(4, seed=0)
    >>> order(0).tolist(), order(1).tolist()
    ([2, 0, 1, 3], [3, 0, 2, 1])
    """

    def __init__(self, size: int, *, seed: int) -> None:
        self._size = size
        self._seed = seed
        self._kept: tuple[int, np.ndarray] = (-1, np.zeros(0, np.int64))

    def __call__(self, epoch: int) -> np.ndarray:
        """0 to N - 1 as that epoch has them, int64 ``[N]``."""
        if self._kept[0] != epoch:
            self._kept = (epoch, np.random.default_rng((self._seed, epoch)).permutation(self._size))
        return self._kept[1]


def array_checksum(*arrays: np.ndarray) -> int:
    """One number that tells whether arrays are still the same: CRC-32 of their bytes.

    >>> array_checksum(np.frombuffer(b"1234", np.uint8), np.frombuffer(b"56789", np.uint8)) == 0xCBF43926
    True
    """
    found = 0
    for array in arrays:
        found = zlib.crc32(np.ascontiguousarray(array).data, found)
    return found


def check_position(
    state: Mapping[str, Any], identity: Mapping[str, Any], *, of: str = "batches", settings: str = "settings"
) -> None:
    """Checks that a saved position counts the batches at hand.

    Args:
      state: what was saved.
      identity: names and values that must be in it: what the position counts.
      of: what is counted, for the message.
      settings: what a resumed run must keep, for the message.

    Raises:
      ValueError: that names all that differs.
    """
    different = [
        f"{name} {state.get(name)} there, {value} here"
        for name, value in identity.items()
        if state.get(name) != value
    ]
    if different:
        raise ValueError(
            f"set_state: the position belongs to other {of} ({'; '.join(different)}); resume with the "
            f"{settings} of the saved run, or start a new one"
        )
