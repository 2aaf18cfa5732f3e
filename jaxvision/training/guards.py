"""Hooks that end a run well: a loss that is no number, an interrupt, a score that no longer improves."""

import math
import signal
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from jaxvision.core import flatten_paths
from jaxvision.training.distributed import is_first_process
from jaxvision.training.fit import Hook, Progress
from jaxvision.training.parallel import Placement, host_values
from jaxvision.training.state import TrainState
from jaxvision.training.step import Metrics
from jaxvision.training.task import Batch

_REMEDIES = {
    True: "The step changed nothing and is not in any checkpoint; its batch is in {path}. Check that batch, "
    "lower the learning rate, or clip the gradients, then resume.",
    False: "The step learned from it before it was seen, but is not in any checkpoint; its batch is in "
    "{path}. Resume from the last checkpoint, or begin anew with a lower learning rate.",
}


class NaNGuard(Hook):
    """Ends the run at the first loss or gradient that is not finite, and says where it came from.

    The step itself leaves the state as it was (see :func:`make_train_step`), so the guard may look one
    step late and never makes the host wait for the device. It saves the batch, and names the first bad
    leaf in the order batch, parameters, model state, gradients.

    A step that learns in place, such as word2vec's, cannot take anything back; the checkpoint before it is
    what remains.

    Args:
      folder: where ``bad_batch_step<N>.npz`` is written.
      placement: of the state and the batches.
      gradients: ``(state, batch) -> gradients``, host trees, run once to find the bad leaf.
      keeps_state: whether the step leaves the state as it was; see
        :class:`jaxvision.training.CompiledStep`.
    """

    def __init__(
        self,
        folder: Path,
        placement: Placement,
        gradients: Callable[[TrainState, Batch], Any],
        *,
        keeps_state: bool = True,
    ) -> None:
        self._keeps_state = keeps_state
        self._folder = folder
        self._placement = placement
        self._gradients = gradients
        self._previous: tuple[int, Metrics, Batch] | None = None

    def after_step(self, progress: Progress) -> None:
        """Checks the step before this one."""
        previous = self._previous
        self._previous = (progress.step, progress.metrics, progress.batch)
        self._check(previous, progress.state)

    def after(self, progress: Progress) -> None:
        """Checks the last step."""
        previous, self._previous = self._previous, None
        self._check(previous, progress.state)

    def _check(self, seen: tuple[int, Metrics, Batch] | None, state: TrainState) -> None:
        if seen is None or bool(np.all(host_values(seen[1]["finite"]))):
            return
        self._previous = None
        step, metrics, batch = seen
        host_batch = self._placement.unshard(batch)
        path = self._folder / f"bad_batch_step{step}.npz"
        if is_first_process():
            np.savez(path, **host_batch)  # type: ignore[arg-type]
        host_state = self._placement.fetch(state)
        leaf = first_bad_leaf({"batch": host_batch, "params": host_state.params}) or first_bad_leaf(
            {"model_state": host_state.model_state, "gradients": self._gradients(host_state, host_batch)}
        )
        loss = float(np.ravel(host_values(metrics["loss"]))[0])
        raise FloatingPointError(
            f"step {step}: the loss is {loss:g} and the first leaf that is not finite is "
            f"{leaf or 'inside the loss'}. {_REMEDIES[self._keeps_state].format(path=path)}"
        )


def first_bad_leaf(tree: Any) -> str | None:
    """Path of the first leaf with a value that is not finite, or None.

    >>> first_bad_leaf({"a": np.ones(2), "b": {"c": np.array([1.0, np.nan])}})
    'b/c'
    """
    for path, leaf in flatten_paths(tree).items():
        array = jnp.asarray(leaf)
        if jnp.issubdtype(array.dtype, jnp.inexact) and not bool(jnp.isfinite(array).all()):
            return path
    return None


class StopOnSignal(Hook):
    """Turns Ctrl-C and SIGTERM into an orderly stop after the current step; a second Ctrl-C ends at once.

    Of several processes, all stop after the same step, whichever of them got the signal: JAX's preemption
    service takes SIGTERM, tells the others, and names a step that none has passed yet. Ctrl-C is turned
    into SIGTERM.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._restore: dict[int, Any] = {}

    def before(self, progress: Progress) -> None:
        """Installs the handlers."""
        # The preemption service has its own handler of SIGTERM, which must stay.
        numbers = (signal.SIGINT,) if jax.process_count() > 1 else (signal.SIGINT, signal.SIGTERM)
        for number in numbers:
            self._restore[number] = signal.signal(number, self._note)

    def after_step(self, progress: Progress) -> None:
        """Stops the loop if a signal came."""
        if jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(progress.step):
            progress.stop = "stopped by SIGTERM"
        elif self._received is not None and jax.process_count() == 1:
            progress.stop = f"stopped by {signal.Signals(self._received).name}"

    def after(self, progress: Progress) -> None:
        """Puts the earlier handlers back."""
        for number, handler in self._restore.items():
            signal.signal(number, handler)
        self._restore.clear()

    @property
    def received(self) -> int | None:
        """The signal's number, or None."""
        return self._received

    def _note(self, number: int, frame: types.FrameType | None) -> None:
        if self._received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._received = number
        if jax.process_count() > 1:
            signal.raise_signal(signal.SIGTERM)


class EarlyStopping(Hook):
    """Stops when a score has not improved for more than ``patience`` evaluations.

    Args:
      metric: a name among the scores, such as ``"mean_iou"``.
      patience: evaluations without an improvement that are borne.
      mode: ``"max"`` if more is better, ``"min"`` for a loss.
      min_delta: an improvement is more than this.
    """

    def __init__(self, metric: str, *, patience: int, mode: str = "max", min_delta: float = 0.0) -> None:
        if mode not in ("max", "min"):
            raise ValueError(f"mode: expected 'max' or 'min', got {mode!r}")
        self.metric = metric
        self.best = -math.inf
        self.waited = 0
        self._patience = patience
        self._sign = 1.0 if mode == "max" else -1.0
        self._min_delta = min_delta

    def after_step(self, progress: Progress) -> None:
        """Looks at the scores of an evaluation, if there was one."""
        if not progress.scores:
            return
        if self.metric not in progress.scores:
            raise ValueError(
                f"early stopping watches {self.metric!r}, which is not among the scores "
                f"{sorted(progress.scores)}"
            )
        score = self._sign * progress.scores[self.metric]
        if score > self.best + self._min_delta:
            self.best, self.waited = score, 0
        else:
            self.waited += 1
        if self.waited > self._patience:
            progress.stop = f"{self.metric} has not improved for {self.waited} evaluations"

    def memory(self) -> Any:
        """Best score and evaluations since."""
        return {"best": self.best, "waited": self.waited}

    def remember(self, memory: Any) -> None:
        """Continues counting."""
        self.best, self.waited = memory["best"], memory["waited"]
