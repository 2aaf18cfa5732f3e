"""Where a step runs: one device or many, by a sharded ``jit`` or by ``pmap``. The step is the same."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxvision.core import map_paths
from jaxvision.training.parted_step import PartedStep
from jaxvision.training.sharding import ShardRule, shard_spec

DATA_AXIS = "data"
"""Name of the axis of devices that a batch is split over."""
LEAST_SHARDED = 4096  # numbers; a smaller array is kept whole: to send it costs more than to hold it


class Placement(Protocol):
    """How state and batches lie on the devices, and how a step is compiled for that.

    The devices may be those of several processes. Each process then gives its own part of a batch to
    :meth:`shard`, and calls all other methods with the same values in the same order as the others.

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
        """Raises a ValueError if the devices cannot share a batch of that size, over all processes."""

    def place(self, tree: Any) -> Any:
        """Lays a tree of host or device arrays out on the devices: a copy on each, or its part."""

    def create(self, make: Callable[..., Any], *arguments: Any) -> Any:
        """What a function of trees of host arrays makes, compiled, laid out as :meth:`place` does."""

    def shard(self, batch: Any) -> Any:
        """Splits each array's first axis over the devices of this process."""

    def fetch(self, tree: Any) -> Any:
        """One host copy, as numpy arrays, of what :meth:`place` laid out."""

    def snapshot(self, tree: Any) -> Any:
        """A copy that the next step leaves alone and that Orbax can write: on the host, or still in parts."""

    def unshard(self, batch: Any) -> dict[str, np.ndarray]:
        """The batch of all processes as it was before :meth:`shard`, as numpy arrays ``[N, ...]``."""

    def whole(self, params: Any) -> Any:
        """Inside a step: the parameters as the network takes them, whole on every device."""

    def compile_step(self, step: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """Compiles ``(state, batch) -> (state, metrics)``; the state passed in is used up (donated)."""

    def compile_count(self, count: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """Compiles ``(variables, batch) -> counts``."""


@dataclasses.dataclass(frozen=True)
class JitPlacement:
    """``jit`` over a mesh: the batch is sharded, the compiler adds the communication.

    The program is that of one device on the whole batch, so BatchNorm statistics are global by themselves.

    Attributes:
      mesh: of one axis, :data:`DATA_AXIS`.
      axis_name: None, for the program sees no device.
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
        return _put(tree, jax.tree.map(lambda _: self._replicated, tree))

    def create(self, make: Callable[..., Any], *arguments: Any) -> Any:
        """Makes a tree on one device and copies it to the others."""
        return self.place(jax.jit(make)(*arguments))

    def shard(self, batch: Any) -> Any:
        """Splits each array's first axis over the mesh."""
        self.check_batch_size(_size(batch) * _process_count(self.mesh))
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(self._sharded, x), batch)

    def fetch(self, tree: Any) -> Any:
        """One host copy as numpy arrays."""
        return _gather(tree)

    def snapshot(self, tree: Any) -> Any:
        """One host copy, in memory of its own."""
        # On a CPU what is fetched is the device's own memory, which the next step writes to.
        return jax.tree.map(np.array, self.fetch(tree))

    def unshard(self, batch: Any) -> dict[str, np.ndarray]:
        """The whole batch on the host."""
        return _gather(dict(batch))

    def whole(self, params: Any) -> Any:
        """The parameters as they are."""
        return params

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
class FsdpPlacement(JitPlacement):
    """``jit`` over a mesh that shares not only the batch but parameters and optimizer state too.

    A device holds one part of each large array. The step gathers an array where the network needs it, and
    sums gradients into the device's own part, so that the optimizer works on parts alone. The numbers are
    those of the other placements.

    Attributes:
      rules: which axis of an array is split; see :func:`jaxvision.training.shard_spec`.
      least: arrays with fewer numbers stay whole, where no rule says otherwise.
    """

    rules: tuple[ShardRule, ...] = ()
    least: int = LEAST_SHARDED

    def shardings(self, tree: Any, *, prefix: str = "") -> Any:
        """Where each array of a state, of variables, or of shapes lies; ``prefix`` goes before each path."""

        def of(path: str, leaf: Any) -> NamedSharding:
            spec = shard_spec(
                prefix + path,
                leaf.shape,
                count=self.num_devices,
                axis_name=DATA_AXIS,
                rules=self.rules,
                least=self.least,
            )
            return NamedSharding(self.mesh, spec)

        return map_paths(of, tree)

    def place(self, tree: Any) -> Any:
        """Gives every device its part of each array, or a copy of what stays whole."""
        return _put(tree, self.shardings(tree))

    def create(self, make: Callable[..., Any], *arguments: Any) -> Any:
        """Makes a tree in parts: a device keeps its own. The random numbers of an array are drawn whole."""
        parts = self.shardings(jax.eval_shape(make, *arguments))
        return jax.jit(make, out_shardings=parts)(*self.place(arguments))

    def snapshot(self, tree: Any) -> Any:
        """Copies on the host; of several processes, on the devices, for each process writes its own part."""
        if _process_count(self.mesh) == 1:
            return super().snapshot(tree)
        return jax.tree.map(jnp.copy, tree)

    def whole(self, params: Any) -> Any:
        """Gathers the parameters; their gradients go back into parts."""
        parts = self.shardings(params, prefix="params/")

        @jax.custom_vjp
        def gather(tree: Any) -> Any:
            return jax.lax.with_sharding_constraint(tree, self._replicated)

        def scatter(_: None, gradients: Any) -> tuple[Any]:
            return (jax.lax.with_sharding_constraint(gradients, parts),)

        gather.defvjp(lambda tree: (gather(tree), None), scatter)
        return gather(params)

    def compile_step(self, step: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """Compiles a training step whose state, in parts, is donated."""
        return PartedStep(step, self.shardings, mesh=self.mesh, axis_name=DATA_AXIS)

    def compile_count(self, count: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """Compiles an evaluation step on gathered variables; the counts are replicated."""

        def counted(variables: Any, batch: Any) -> Any:
            return count(jax.lax.with_sharding_constraint(variables, self._replicated), batch)

        return jax.jit(counted, out_shardings=self._replicated)


@dataclasses.dataclass(frozen=True)
class PmapPlacement:
    """``pmap``: one program a device; the step itself sums over the axis of the devices.

    Attributes:
      devices: mapped over.
      axis_name: of their axis inside of the step.
    """

    devices: tuple[jax.Device, ...]
    axis_name: str = DATA_AXIS

    @property
    def num_devices(self) -> int:
        """Devices mapped over."""
        return len(self.devices)

    def check_batch_size(self, batch_size: int) -> None:
        """Raises a ValueError if the devices cannot share a batch of that size."""
        _check_batch_size(batch_size, self.num_devices)

    @property
    def _mesh(self) -> Mesh:
        return Mesh(np.array(self.devices), (DATA_AXIS,), axis_types=(AxisType.Auto,))

    def place(self, tree: Any) -> Any:
        """Gives each array a leading device axis, one copy a device."""
        sharding = NamedSharding(self._mesh, PartitionSpec(DATA_AXIS))

        def stack(x: Any) -> jax.Array:
            shape = (self.num_devices, *np.shape(x))
            return jax.make_array_from_callback(shape, sharding, lambda _: np.asarray(x)[None])

        return jax.tree.map(stack, tree)

    def create(self, make: Callable[..., Any], *arguments: Any) -> Any:
        """Makes a tree on one device and copies it to all."""
        return self.place(jax.jit(make)(*arguments))

    def shard(self, batch: Any) -> Any:
        """Splits the first axis, N, into ``[devices, N / devices]``, and copies each part to its device."""
        processes = _process_count(self._mesh)
        self.check_batch_size(_size(batch) * processes)
        sharding = NamedSharding(self._mesh, PartitionSpec(DATA_AXIS))
        local = self.num_devices // processes
        return jax.tree.map(
            lambda x: jax.make_array_from_process_local_data(
                sharding,
                x.reshape(local, -1, *x.shape[1:]),
                (self.num_devices, len(x) // local, *x.shape[1:]),
            ),
            batch,
        )

    def fetch(self, tree: Any) -> Any:
        """The first device's copy as numpy arrays; of several processes, this process's first device's."""
        return jax.tree.map(lambda x: x[0], host_values(tree))

    def snapshot(self, tree: Any) -> Any:
        """One host copy, in memory of its own."""
        return jax.tree.map(np.array, self.fetch(tree))

    def unshard(self, batch: Any) -> dict[str, np.ndarray]:
        """The whole batch on the host, the device axis merged into N again."""
        return {name: x.reshape(-1, *x.shape[2:]) for name, x in _gather(dict(batch)).items()}

    def whole(self, params: Any) -> Any:
        """The parameters as they are."""
        return params

    def compile_step(self, step: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """Maps a training step over the devices; the state is donated."""
        return self._map(step, donate=(0,))

    def compile_count(self, count: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """Maps an evaluation step over the devices."""
        return self._map(count, donate=())

    def _map(self, function: Callable[[Any, Any], Any], *, donate: tuple[int, ...]) -> Any:
        if _process_count(self._mesh) == 1:
            return jax.pmap(function, axis_name=self.axis_name, devices=self.devices, donate_argnums=donate)

        # jax.pmap itself takes and gives each process's own part of an array, and copies what is donated; the
        # shard_map that it is made of takes arrays of all processes.
        def on_device(*trees: Any) -> Any:
            return jax.tree.map(lambda x: x[None], function(*jax.tree.map(lambda x: x[0], trees)))

        spec = PartitionSpec(self.axis_name)
        mapped = jax.shard_map(on_device, mesh=self._mesh, in_specs=spec, out_specs=spec, check_vma=False)
        return jax.jit(mapped, donate_argnums=donate)


def make_placement(
    parallel: str, *, devices: Sequence[jax.Device] | None = None, rules: Sequence[ShardRule] = ()
) -> Placement:
    """Makes a placement on the given devices, by default on all, those of other processes too.

    Args:
      parallel: ``"jit"``, ``"pmap"`` or ``"fsdp"``.
      devices: default ``jax.devices()``.
      rules: of ``"fsdp"``.

    Raises:
      ValueError: for another word.
    """
    chosen = tuple(jax.devices() if devices is None else devices)
    if parallel == "pmap":
        return PmapPlacement(chosen)
    if parallel not in ("jit", "fsdp"):
        raise ValueError(f"parallel: expected 'jit', 'pmap' or 'fsdp', got {parallel!r}")
    mesh = Mesh(np.array(chosen), (DATA_AXIS,), axis_types=(AxisType.Auto,))
    return JitPlacement(mesh) if parallel == "jit" else FsdpPlacement(mesh, rules=tuple(rules))


def host_values(tree: Any) -> Any:
    """A tree as numpy arrays; of an array in parts on several processes, this one's first part."""

    def value(x: Any) -> Any:
        if not isinstance(x, jax.Array) or x.is_fully_addressable or x.is_fully_replicated:
            return np.asarray(x)
        return np.asarray(x.addressable_shards[0].data)

    return jax.tree.map(value, jax.device_get(tree) if jax.process_count() == 1 else tree)


def _gather(tree: Any) -> Any:
    """A tree as whole numpy arrays, also of arrays in parts on several processes."""

    def value(x: Any) -> Any:
        if isinstance(x, jax.Array) and not (x.is_fully_addressable or x.is_fully_replicated):
            return multihost_utils.process_allgather(x, tiled=True)
        return np.asarray(x)

    return jax.device_get(tree) if jax.process_count() == 1 else jax.tree.map(value, tree)


def _put(tree: Any, shardings: Any) -> Any:
    """Copies a tree of host arrays, or of arrays of one device, to the devices of a mesh."""
    if jax.process_count() == 1:
        return jax.device_put(tree, shardings)

    def put(x: Any, sharding: NamedSharding) -> jax.Array:
        host = np.asarray(x)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(put, tree, shardings)


def _process_count(mesh: Mesh) -> int:
    return len({device.process_index for device in mesh.devices.flat})


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
