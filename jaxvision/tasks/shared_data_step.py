"""Training steps that read data which lies whole on every device: a graph to walk on, say."""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import PartitionSpec

from jaxvision.training import (
    DATA_AXIS,
    Batch,
    CompiledStep,
    FsdpPlacement,
    JitPlacement,
    Placement,
    PmapPlacement,
    TrainState,
)

__all__ = ["compile_shared_step"]

SharedStep = Callable[[TrainState, Batch, Any], tuple[TrainState, dict[str, jax.Array]]]


def compile_shared_step(
    make_step: Callable[[str | None], SharedStep], data: Any, placement: Placement
) -> CompiledStep:
    """Compiles ``(state, batch, data) -> (state, metrics)`` into a step of state and batch.

    The data is an argument of the program: what a step closes over would be a constant of it. On several
    devices each runs the program by itself (``shard_map``, or ``pmap``), the step says what they exchange. It
    learns batch after batch, in place: of one that is not finite, nothing is taken back.

    Args:
      make_step: gets the name of the device axis, or None on one device.
      data: a tree of arrays, copied to every device.
      placement: the devices.

    Raises:
      ValueError: for a placement that splits the state.
    """
    if isinstance(placement, FsdpPlacement):
        raise ValueError(
            "--run.parallel fsdp: every device learns in the whole tables, which fsdp would split; take jit "
            "or pmap"
        )
    compiled: Any
    if isinstance(placement, PmapPlacement):
        step = make_step(placement.axis_name)
        compiled = jax.pmap(step, axis_name=placement.axis_name, devices=placement.devices, donate_argnums=0)
    elif placement.num_devices > 1:
        assert isinstance(placement, JitPlacement)
        everywhere, shared = PartitionSpec(), PartitionSpec(DATA_AXIS)
        mapped = jax.shard_map(
            make_step(DATA_AXIS),
            mesh=placement.mesh,
            in_specs=(everywhere, shared, everywhere),
            out_specs=everywhere,
            check_vma=False,  # the states are equal on all devices, which it cannot see
        )
        compiled = jax.jit(mapped, donate_argnums=0)
    else:
        compiled = jax.jit(make_step(None), donate_argnums=0)
    return CompiledStep(_WithData(compiled, placement.place(data)), report=print, keeps_state=False)


class _WithData:
    """A stage of a program whose last argument is the data, as one without that argument."""

    def __init__(self, stage: Any, data: Any) -> None:
        self._stage = stage
        self._data = data

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        result: tuple[TrainState, dict[str, jax.Array]] = self._stage(state, batch, self._data)
        return result

    def lower(self, state: TrainState, batch: Batch) -> "_WithData":
        return _WithData(self._stage.lower(state, batch, self._data), self._data)

    def compile(self) -> "_WithData":
        return _WithData(self._stage.compile(), self._data)

    def memory_analysis(self) -> Any:
        return self._stage.memory_analysis()

    def as_text(self) -> Any:
        return self._stage.as_text()
