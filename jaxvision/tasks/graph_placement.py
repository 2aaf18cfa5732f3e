"""One graph on many devices: each has a part of the edges."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec

from jaxvision.training import DATA_AXIS, JitPlacement

EDGE_FIELDS = ("senders", "receivers", "where_edges", "edges")
"""Arrays of a batch ``[1, E, ...]`` that are shared out."""


@dataclasses.dataclass(frozen=True)
class EdgeShardedPlacement(JitPlacement):
    """``jit`` over a mesh on whose devices a graph's edges are shared out; nodes and parameters are on each.

    Messages, the larger part of memory and work where there are many more edges than nodes, are then made
    where their edges are. Each device adds up its own for every node, and the compiler adds these partial
    sums over the devices. The result is that of one device, up to the order of sums.

    What :meth:`shard` is given again, it does not copy again: an epoch sends only what has changed.
    """

    _placed: dict[str, tuple[Any, Any]] = dataclasses.field(default_factory=dict, compare=False, repr=False)

    def check_batch_size(self, batch_size: int) -> None:
        """Any number of examples: it is edges that are shared, and those are padded."""

    def shard(self, batch: Any) -> Any:
        """Shares out the edges over the mesh, and copies all else to each of its devices."""
        return {name: self._put(name, array) for name, array in batch.items()}

    def _put(self, name: str, array: Any) -> Any:
        kept = self._placed.get(name)
        if kept is not None and kept[0] is array:
            return kept[1]
        spec = PartitionSpec(None, DATA_AXIS) if name in EDGE_FIELDS else PartitionSpec()
        placed = jax.device_put(array, NamedSharding(self.mesh, spec))
        self._placed[name] = (array, placed)
        return placed

    def compile_step(self, step: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """Compiles a training step with its state replicated and donated; the batch lies where it lies."""
        return jax.jit(step, out_shardings=self._replicated, donate_argnums=0)

    def compile_count(self, count: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """Compiles an evaluation step; the counts are replicated."""
        return jax.jit(count, out_shardings=self._replicated)
