"""A compiled training step whose state lies on the devices in parts."""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

__all__ = ["PartedStep"]


class PartedStep:
    """A jitted step whose state, donated, keeps the layout that it comes with, which only a state tells.

    Args:
      step: ``(state, batch) -> (state, metrics)``.
      shardings: a state to where each of its arrays lies.
      mesh: of the devices.
      axis_name: of the axis that batches are split over.
    """

    def __init__(
        self,
        step: Callable[[Any, Any], Any],
        shardings: Callable[[Any], Any],
        *,
        mesh: Mesh,
        axis_name: str,
    ) -> None:
        self._step = step
        self._shardings = shardings
        self._mesh = mesh
        self._axis_name = axis_name
        self._jitted: Any = None

    def __call__(self, state: Any, batch: Any) -> Any:
        """Runs the step."""
        return self._of(state)(state, batch)

    def lower(self, state: Any, batch: Any) -> Any:
        """As of a jitted function."""
        return self._of(state).lower(state, batch)

    def _of(self, state: Any) -> Any:
        if self._jitted is None:
            parts = self._shardings(state)
            whole, sharded = (
                NamedSharding(self._mesh, PartitionSpec(*axes)) for axes in ((), (self._axis_name,))
            )
            self._jitted = jax.jit(
                self._step, in_shardings=(parts, sharded), out_shardings=(parts, whole), donate_argnums=0
            )
        return self._jitted
