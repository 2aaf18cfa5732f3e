"""Batches put on the device ahead of time, with a position that counts only what was handed out."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

import numpy as np

__all__ = ["DevicePrefetch", "prefetch_to_device"]

Batch = dict[str, np.ndarray]
Placed = TypeVar("Placed")


def prefetch_to_device(
    batches: Iterable[Batch], place: Callable[[Batch], Placed], *, depth: int = 2
) -> "DevicePrefetch[Placed]":
    """Puts batches on the device ahead of time, so that copying overlaps with computing.

    Args:
      batches: any iterable of batches.
      place: host batch -> device batch, e.g. ``lambda batch: jax.device_put(batch, sharding)``. JAX copies
        in the background, so no thread is needed.
      depth: batches on the device beside the one in use; 0 places each when it is asked for.

    Raises:
      ValueError: if ``depth`` is negative.
    """
    if depth < 0:
        raise ValueError(f"depth: got {depth}, expected 0 or more")
    return DevicePrefetch(iter(batches), place, depth)


class DevicePrefetch(Iterator[Placed], Generic[Placed]):
    """What :func:`prefetch_to_device` returns.

    ``get_state`` is the position after the last batch handed out, not after the last one read ahead: a run
    that resumes from it misses no batch. It needs a source that has ``get_state``, as ``TrainBatches``.
    """

    def __init__(self, batches: Iterator[Batch], place: Callable[[Batch], Placed], depth: int) -> None:
        self._batches: Any = batches
        self._place = place
        self._depth = depth
        self._ahead: deque[tuple[Placed, Any]] = deque()  # (batch, state after it)
        self._state = self._source_state()

    def __next__(self) -> Placed:
        while len(self._ahead) <= self._depth:
            try:
                batch = next(self._batches)
            except StopIteration:
                break
            self._ahead.append((self._place(batch), self._source_state()))
        if not self._ahead:
            raise StopIteration
        placed, self._state = self._ahead.popleft()
        return placed

    def get_state(self) -> Any:
        """The state of the source after the last batch that was handed out.

        Raises:
          TypeError: if the source has no ``get_state``.
        """
        if self._state is None:
            raise TypeError(f"get_state: {type(self._batches).__name__} has no position to save")
        return self._state

    def set_state(self, state: Any) -> None:
        """Goes to a position that ``get_state`` gave; what was read ahead is thrown away."""
        self._batches.set_state(state)
        self._ahead.clear()
        self._state = self._source_state()

    def close(self) -> None:
        """Drops what was read ahead and closes the source, where it can be closed."""
        self._ahead.clear()
        close = getattr(self._batches, "close", None)
        if close is not None:
            close()

    def _source_state(self) -> Any:
        get_state = getattr(self._batches, "get_state", None)
        return None if get_state is None else get_state()
