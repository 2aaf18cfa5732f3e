"""Where a step runs: one device or many, by a sharded ``jit`` or by ``pmap``. The step is the same."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

DATA_AXIS = "data"


class Placement(Protocol):
    """How state and batches lie on the devices, and how a step is compiled for that.

    Attributes:
      axis_name: what :func:`jaxvision.training.make_train_step` and a synced BatchNorm take; None under jit.
      num_devices: a batch is split in that many equal parts.
    """

    @property
    def axis_name(self) -> str | None:
        """Name of the device axis inside the step, or None."""

    @property
    def num_devices(self) -> int:
        """How many devices share a batch."""

    def check_batch_size(self, batch_size: int) -> None:
        """Raises a ValueError if the devices cannot share a batch of that size."""

    def place(self, tree: Any) -> Any:
        """Copies a tree of host or device arrays to every device."""

    def shard(self, batch: Any) -> Any:
        """Splits each array's first axis over the devices."""

    def fetch(self, tree: Any) -> Any:
        """One host copy, as numpy arrays, of what :meth:`place` laid out."""

    def unshard(self, batch: Any) -> dict[str, np.ndarray]:
        """The batch as it was before :meth:`shard`, as numpy arrays ``[N, ...]``."""

    def compile_step(self, step: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """Compiles ``(state, batch) -> (state, metrics)``; the state passed in is used up (donated)."""

    def compile_count(self, count: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """Compiles ``(variables, batch) -> counts``."""


@dataclasses.dataclass(frozen=True)
class JitPlacement:
    """``jit`` over a mesh: the batch is sharded, the compiler adds the communication.

    The program is that of one device on the whole batch, so BatchNorm statistics are global by themselves.
    """

    mesh: Mesh
    axis_name: None = None

    @property
    def num_devices(self) -> int:
        """Devices of the mesh."""
        return self.mesh.size

    def check_batch_size(self, batch_size: int) -> None:
        """Raises a ValueError if the mesh cannot share a batch of that size."""
        _check_batch_size(batch_size, self.num_devices)

    @property
    def _replicated(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def _sharded(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec(DATA_AXIS))

    def place(self, tree: Any) -> Any:
        """Copies a tree to every device of the mesh."""
        return jax.device_put(tree, self._replicated)

    def shard(self, batch: Any) -> Any:
        """Splits each array's first axis over the mesh."""
        self.check_batch_size(_size(batch))
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(self._sharded, x), batch)

    def fetch(self, tree: Any) -> Any:
        """One host copy as numpy arrays."""
        return jax.device_get(tree)

    def unshard(self, batch: Any) -> dict[str, np.ndarray]:
        """The whole batch on the host."""
        return jax.device_get(dict(batch))

    def compile_step(self, step: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """Compiles a training step with its state replicated and donated."""
        return jax.jit(
            step,
            in_shardings=(self._replicated, self._sharded),
            out_shardings=self._replicated,
            donate_argnums=0,
        )

    def compile_count(self, count: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """Compiles an evaluation step; the counts are replicated."""
        return jax.jit(count, in_shardings=(self._replicated, self._sharded), out_shardings=self._replicated)


@dataclasses.dataclass(frozen=True)
class PmapPlacement:
    """``pmap``: one program a device; the step itself sums over :data:`DATA_AXIS`."""

    devices: tuple[jax.Device, ...]
    axis_name: str = DATA_AXIS

    @property
    def num_devices(self) -> int:
        """Devices mapped over."""
        return len(self.devices)

    def check_batch_size(self, batch_size: int) -> None:
        """Raises a ValueError if the devices cannot share a batch of that size."""
        _check_batch_size(batch_size, self.num_devices)

    def place(self, tree: Any) -> Any:
        """Gives each array a leading device axis, one copy a device."""
        return jax.pmap(lambda _, x: x, in_axes=(0, None), devices=self.devices)(
            np.arange(self.num_devices), tree
        )

    def shard(self, batch: Any) -> Any:
        """Splits the first axis, N, into ``[devices, N / devices]``, and copies each part to its device."""
        self.check_batch_size(_size(batch))
        sharding = NamedSharding(Mesh(np.array(self.devices), (DATA_AXIS,)), PartitionSpec(DATA_AXIS))
        return jax.tree.map(
            lambda x: jax.device_put(x.reshape(self.num_devices, -1, *x.shape[1:]), sharding), batch
        )

    def fetch(self, tree: Any) -> Any:
        """The first device's copy as numpy arrays."""
        return jax.device_get(jax.tree.map(lambda x: x[0], tree))

    def unshard(self, batch: Any) -> dict[str, np.ndarray]:
        """The whole batch on the host, the device axis merged into N again."""
        return {name: x.reshape(-1, *x.shape[2:]) for name, x in jax.device_get(dict(batch)).items()}

    def compile_step(self, step: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """Maps a training step over the devices; the state is donated."""
        return jax.pmap(step, axis_name=self.axis_name, devices=self.devices, donate_argnums=0)

    def compile_count(self, count: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """Maps an evaluation step over the devices."""
        return jax.pmap(count, axis_name=self.axis_name, devices=self.devices)


def make_placement(parallel: str, *, devices: Sequence[jax.Device] | None = None) -> Placement:
    """Makes a placement on the given devices, by default on all.

    Args:
      parallel: ``"jit"`` or ``"pmap"``.
      devices: default ``jax.devices()``.

    Raises:
      ValueError: for another word.
    """
    chosen = tuple(jax.devices() if devices is None else devices)
    if parallel == "jit":
        return JitPlacement(Mesh(np.array(chosen), (DATA_AXIS,), axis_types=(AxisType.Auto,)))
    if parallel == "pmap":
        return PmapPlacement(chosen)
    raise ValueError(f"parallel: expected 'jit' or 'pmap', got {parallel!r}")


def _size(batch: Any) -> int:
    sizes = {len(x) for x in jax.tree.leaves(batch)}
    if len(sizes) != 1:
        raise ValueError(f"batch: expected one size of the first axis, got {sorted(sizes)}")
    return sizes.pop()


def _check_batch_size(size: int, num_devices: int) -> None:
    if size % num_devices:
        raise ValueError(
            f"batch size {size} is not divisible by {num_devices} devices; use a batch size of "
            f"{max(num_devices, size - size % num_devices)}, or fewer devices"
        )
