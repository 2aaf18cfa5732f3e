"""The only training loop. Whatever else happens during training is a hook."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from jaxvision.training.parallel import host_values
from jaxvision.training.state import TrainState
from jaxvision.training.step import Metrics
from jaxvision.training.task import Batch


@dataclasses.dataclass
class Progress:
    """Where a run stands: what hooks read, and the three fields that they may set.

    Attributes:
      state: the state after the step, on the devices. A hook may replace it (a learning-rate scale).
      step: the batches seen, counted on the host so that nobody waits for the device.
      metrics: of the last step, still on the devices; reading them waits for the step.
      batch: the batch of the last step, on the devices.
      scores: of an evaluation at this step, else empty. Set by the evaluation hook.
      stop: why the loop ends after this step, or None. Set by any hook.
      failed: whether the loop ends by an error of the data, which other processes need not have.
      waited: seconds spent waiting for data.
      paused: seconds spent in evaluations and saves, which do not count as training.
    """

    state: TrainState
    step: int
    metrics: Metrics = dataclasses.field(default_factory=dict)
    batch: Batch = dataclasses.field(default_factory=dict)
    scores: dict[str, float] = dataclasses.field(default_factory=dict)
    stop: str | None = None
    failed: bool = False
    waited: float = 0.0
    paused: float = 0.0


class Hook:
    """Called by :func:`fit`; every method may be left out.

    What a hook must remember over a restart it gives as JSON by :meth:`memory`, and gets back by
    :meth:`remember`; the checkpoint hook keeps it with the state.
    """

    def before(self, progress: Progress) -> None:
        """Called once before the first step."""

    def after_step(self, progress: Progress) -> None:
        """Called after every step."""

    def after(self, progress: Progress) -> None:
        """Called once at the end, also after an error."""

    def memory(self) -> Any:
        """What to keep in a checkpoint, as JSON; None for nothing."""
        return None

    def remember(self, memory: Any) -> None:
        """Takes back what :meth:`memory` gave."""


def fit(
    state: TrainState,
    step: Callable[[TrainState, Batch], tuple[TrainState, Metrics]],
    batches: Iterable[Batch],
    hooks: Sequence[Hook],
    *,
    steps: int,
) -> Progress:
    """Trains until ``steps`` batches have been seen in all, the batches end, or a hook says stop.

    Args:
      state: placed on the devices; used up by the first step.
      step: compiled ``(state, batch) -> (state, metrics)``.
      batches: placed on the devices, continuing where the state left off.
      hooks: called in this order after every step, so a hook sees what those before it have set. The
        ends (``after``) are called in the reverse order.
      steps: counted from the start of the run, not from a resumed state.

    Returns:
      The progress at the end; ``progress.stop`` says why the loop ended.
    """
    progress = Progress(state, int(host_values(state.step).max()))
    with contextlib.ExitStack() as ends:
        for hook in hooks:
            ends.callback(hook.after, progress)
            hook.before(progress)
        iterator = iter(batches)
        while progress.step < steps and progress.stop is None:
            asked = time.perf_counter()
            try:
                batch = next(iterator, None)
            except Exception:
                progress.stop = "the data could not be read"  # the state is good: hooks may save it
                progress.failed = True
                raise
            progress.waited += time.perf_counter() - asked
            if batch is None:
                progress.stop = "the data ended"
                break
            progress.state, progress.metrics = step(progress.state, batch)
            progress.step += 1
            progress.batch, progress.scores = batch, {}
            for hook in hooks:
                hook.after_step(progress)
        progress.stop = progress.stop or f"all {steps} steps are done"
    return progress
