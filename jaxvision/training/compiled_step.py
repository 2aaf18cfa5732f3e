"""A training step compiled once, that knows what memory it needs and refuses to be compiled again."""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxvision.core import flatten_paths
from jaxvision.training.distributed import explain_lost_peer
from jaxvision.training.state import TrainState
from jaxvision.training.step import Metrics
from jaxvision.training.task import Batch


class DeviceMemoryError(RuntimeError):
    """The devices have less memory than a step needs; the message says what needs it and what to change."""


class RecompilationError(RuntimeError):
    """A batch or state of another shape than the step was compiled for."""


class MemoryUse(NamedTuple):
    """Bytes that a training step needs on each device.

    Attributes:
      params: parameters.
      model_state: batch statistics and the like.
      optimizer: the optimizer's state.
      batch: this device's part of a batch.
      temporaries: what the program holds in between: activations, gradients, updates, workspace.
      capacity: what the device has; of a CPU, its share of the machine's memory. None if it is not known.
    """

    params: int
    model_state: int
    optimizer: int
    batch: int
    temporaries: int
    capacity: int | None

    @property
    def total(self) -> int:
        """All of them: the state is donated, so its new values lie where the old ones did."""
        return self.params + self.model_state + self.optimizer + self.batch + self.temporaries

    @property
    def fits(self) -> bool:
        """Whether the device has enough, as far as that is known."""
        return self.capacity is None or self.total <= self.capacity

    def __str__(self) -> str:
        parts = {
            "parameters": self.params,
            "statistics": self.model_state,
            "optimizer": self.optimizer,
            "batch": self.batch,
            "activations and temporaries": self.temporaries,
        }
        shown = ", ".join(f"{name} {_show(size)}" for name, size in parts.items() if size)
        whole = "" if self.capacity is None else f" of {_show(self.capacity)}"
        return f"memory of a step, each device: {_show(self.total)}{whole} ({shown})"


_STATE_ADVICE = (
    "share the state by --run.parallel fsdp, choose a smaller network, or an optimizer that keeps less (sgd "
    "keeps nothing)"
)


def memory_advice(use: MemoryUse) -> str:
    """What to change so that a step needs less: the largest part decides.

    >>> use = MemoryUse(params=10, model_state=0, optimizer=20, batch=1, temporaries=5, capacity=30)
    >>> print(memory_advice(use).split(", ")[0])
    share the state by --run.parallel fsdp
    """
    if use.params + use.optimizer > use.temporaries + use.batch:
        return _STATE_ADVICE
    return (
        "lower --data.batch-size (--optimizer.accumulate keeps the batch of an update), lower --data.size, "
        "compute in half the bytes by --model.bfloat16, or keep fewer activations by --run.remat"
    )


def explain_start(error: Exception) -> Exception:
    """The error itself, or what to do if memory ran out before the first step or another process ended."""
    if "RESOURCE_EXHAUSTED" not in str(error):
        return explain_lost_peer(error) or error
    return DeviceMemoryError(
        "the device ran out of memory for parameters and optimizer, before the first step. Remedy: "
        f"{_STATE_ADVICE}. XLA says: {_first_line(error)}"
    )


class CompiledStep:
    """``(state, batch) -> (state, metrics)``, compiled at the first call and never again.

    A step that compiles anew whenever a shape changes is slow in a way that nobody sees, so another shape is
    an error that names it.

    Args:
      step: what :meth:`jaxvision.training.Placement.compile_step` gave.
      report: called with the memory that the step needs, once it is compiled.
      keeps_state: whether a step that is not finite leaves the state as it was, as
        :func:`jaxvision.training.make_train_step`'s does.

    Attributes:
      keeps_state: as given.
    """

    def __init__(
        self,
        step: Callable[[TrainState, Batch], tuple[TrainState, Metrics]],
        *,
        report: Callable[[MemoryUse], None] | None = None,
        keeps_state: bool = True,
    ) -> None:
        self.keeps_state = keeps_state
        self._step: Any = step
        self._report = report
        self._program: Any = None
        self._shapes: dict[str, str] = {}
        self._memory: MemoryUse | None = None

    @property
    def memory(self) -> MemoryUse | None:
        """What the step needs; None before it is compiled, or where XLA does not tell."""
        return self._memory

    def program_text(self) -> str:
        """XLA's text of the compiled program.

        Raises:
          ValueError: before the first call.
        """
        if self._program is None:
            raise ValueError("the step is compiled at its first call: call it once")
        text: str = self._program.as_text()
        return text

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """Runs the step; the state passed in is used up.

        Raises:
          RecompilationError: if state or batch have other shapes or dtypes than at the first call.
          DeviceMemoryError: if the device has too little memory.
          PeerLostError: if another process of the run has ended.
        """
        if self._program is None:
            self._compile(state, batch)
        try:
            result: tuple[TrainState, Metrics] = self._program(state, batch)
        except TypeError as error:
            if different := self._differences(state, batch):
                raise RecompilationError(
                    f"the training step would be compiled anew: {'; '.join(different[:5])}. Give all "
                    "batches one shape: resize or pad the records, and drop or pad the last batch"
                ) from error
            raise
        except jax.errors.JaxRuntimeError as error:
            raise self.explain(error) from error
        return result

    def explain(self, error: Exception) -> Exception:
        """The error itself, or what to do about it if memory ran out or another process has ended."""
        if "RESOURCE_EXHAUSTED" not in str(error):
            return explain_lost_peer(error) or error
        needs = "" if self._memory is None else f" {self._memory}."
        advice = (
            "lower --data.batch-size or --data.size" if self._memory is None else memory_advice(self._memory)
        )
        return DeviceMemoryError(
            f"the device ran out of memory in the training step.{needs} Remedy: {advice}, or use more "
            f"devices. XLA says: {_first_line(error)}"
        )

    def _compile(self, state: TrainState, batch: Batch) -> None:
        self._shapes = _shapes(state, batch)
        try:
            self._program = self._step.lower(state, batch).compile()
        except jax.errors.JaxRuntimeError as error:
            raise self.explain(error) from error
        self._memory = measure_memory(self._program, state, batch)
        if self._memory is not None and self._report is not None:
            self._report(self._memory)

    def _differences(self, state: TrainState, batch: Batch) -> list[str]:
        now = _shapes(state, batch)
        return [
            f"{path} was {self._shapes.get(path, 'absent')} and is {now.get(path, 'absent')}"
            for path in sorted(self._shapes.keys() | now.keys())
            if self._shapes.get(path) != now.get(path)
        ]


def measure_memory(program: Any, state: TrainState, batch: Batch) -> MemoryUse | None:
    """The memory of a compiled step, from XLA's own account; None where XLA gives none.

    Args:
      program: a compiled ``(state, batch) -> (state, metrics)`` whose state is donated.
      state: placed on the devices.
      batch: placed on the devices.
    """
    analysis = program.memory_analysis()
    if analysis is None:
        return None
    new = analysis.output_size_in_bytes - analysis.alias_size_in_bytes  # metrics, and a state not reused
    return MemoryUse(
        params=_bytes(state.params),
        model_state=_bytes(state.model_state),
        optimizer=_bytes(state.opt_state),
        batch=_bytes(batch),
        temporaries=analysis.temp_size_in_bytes + max(new, 0),
        capacity=_capacity(jax.tree.leaves(state)),
    )


def _bytes(tree: Any) -> int:
    """Bytes of a tree on its first device."""
    return sum(
        x.addressable_shards[0].data.nbytes if isinstance(x, jax.Array) else np.asarray(x).nbytes
        for x in jax.tree.leaves(tree)
    )


def _capacity(leaves: list[Any]) -> int | None:
    devices = next((list(x.devices()) for x in leaves if isinstance(x, jax.Array)), jax.devices()[:1])
    if devices[0].platform != "cpu":
        return (devices[0].memory_stats() or {}).get("bytes_limit")
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // len(devices)
    except (AttributeError, OSError, ValueError):  # not a POSIX system
        return None


def _shapes(state: TrainState, batch: Batch) -> dict[str, str]:
    named = {f"state/{path.lstrip('.')}": x for path, x in flatten_paths(state).items()}
    named |= {f"batch/{path}": x for path, x in flatten_paths(batch).items()}
    return {path: f"{x.dtype}{list(x.shape)}" for path, x in named.items()}


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _show(size: int) -> str:
    """A number of bytes for people.

    >>> _show(3 * 2**20)
    '3.0 MiB'
    """
    amount, unit = float(size), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1000:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
