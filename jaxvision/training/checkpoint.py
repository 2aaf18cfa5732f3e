"""Checkpoints by Orbax: the state, where the data stood, and what the hooks remember."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxvision.core import flatten_paths
from jaxvision.training.fit import Hook, Progress
from jaxvision.training.parallel import Placement, host_values
from jaxvision.training.state import TrainState


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be written or read, with the remedy."""


class Checkpoints:
    """A folder of checkpoints, each whole or absent.

    Orbax writes into a temporary folder and renames it at the end, in the background: a kill or a full
    disk in the middle of a save leaves the earlier checkpoints as they were.

    Args:
      folder: made if it is missing.
      keep: how many of the newest to keep.
      best: keep also the best by this score, or None. Scores are kept with the checkpoints, so that a resumed
        run knows which is best.
      mode: ``"max"`` or ``"min"``: whether more of that score is better.
    """

    def __init__(self, folder: Path, *, keep: int = 2, best: str | None = None, mode: str = "max") -> None:
        self._folder = folder.absolute()
        policies: list[Any] = [ocp.checkpoint_managers.LatestN(keep)]
        self._best = best
        self._sign = 1.0 if mode == "max" else -1.0
        if best is not None:
            policies.append(ocp.checkpoint_managers.BestN(get_metric_fn=self._value, n=1))
        options = ocp.CheckpointManagerOptions(
            preservation_policy=ocp.checkpoint_managers.AnyPreservationPolicy(policies),
            best_fn=None if best is None else self._value,  # the policy decides; by this, scores are written
            cleanup_tmp_directories=True,
        )
        # Named handlers: a manager that has not saved yet knows by them how to read what it finds.
        handlers = {"state": ocp.StandardCheckpointHandler(), "position": ocp.JsonCheckpointHandler()}
        self._manager = ocp.CheckpointManager(self._folder, options=options, item_handlers=handlers)
        found = [] if best is None else [self._manager.metrics(step) for step in self.steps()]
        self._best_value = max(map(self._value, found), default=-np.inf)

    def _value(self, scores: Any) -> float:
        """What decides, the more the better; a checkpoint without an evaluation is never the best one."""
        value = (scores or {}).get(self._best)
        return -np.inf if value is None or np.isnan(value) else self._sign * float(value)

    def improves(self, scores: dict[str, float]) -> bool:
        """Whether scores are better than those of all checkpoints so far; never if none is to be the best."""
        return self._best is not None and self._value(scores) > self._best_value

    def latest(self) -> int | None:
        """The step of the newest whole checkpoint, or None."""
        return self._manager.latest_step()

    def steps(self) -> list[int]:
        """The steps of all whole checkpoints, in order."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: Any, position: Any, *, scores: dict[str, float] | None = None) -> None:
        """Starts a save; it is written in the background, after the earlier one is done.

        Args:
          step: its name; a step that is there already is not written again.
          state: one host copy.
          position: anything that JSON holds.
          scores: of the evaluation at this step.

        Raises:
          CheckpointError: if this or the earlier save failed (a full disk, say).
        """
        if step in self._manager.all_steps():
            return
        with self._named_failure():
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state), position=ocp.args.JsonSave({"position": position})
                ),
                metrics=None if self._best is None else scores or {},
            )
        self._best_value = max(self._best_value, self._value(scores))

    def wait(self) -> None:
        """Waits until the save under way is written.

        Raises:
          CheckpointError: if it failed.
        """
        with self._named_failure():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits and closes."""
        self.wait()
        self._manager.close()

    def restore(self, state: Any, *, step: int | None = None) -> tuple[Any, Any]:
        """Reads the newest checkpoint, or the one of a step.

        Args:
          state: a tree of arrays or shapes of what is expected.
          step: which one; default the newest.

        Returns:
          The state as numpy arrays, and the position.

        Raises:
          CheckpointError: if there is none, or its tree, shapes or dtypes are not those expected; the
            message names the first paths that differ.
        """
        step = self.latest() if step is None else step
        if step is None:
            raise CheckpointError(f"{self._folder}: no checkpoint to resume from; start the run anew")
        template = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), state)
        args = ocp.args.Composite(state=ocp.args.StandardRestore(template), position=ocp.args.JsonRestore())
        with self._unreadable(step):
            saved = self._manager.item_metadata(step)["state"].tree
        self._check_same_tree(step, flatten_paths(saved), state)
        with self._unreadable(step):
            restored = self._manager.restore(step, args=args)
        return restored["state"], restored["position"]["position"]

    def _check_same_tree(self, step: int, saved: dict[str, Any], state: Any) -> None:
        found = {path: (tuple(leaf.shape), np.dtype(leaf.dtype)) for path, leaf in saved.items()}
        expected = {
            path.lstrip("."): (tuple(leaf.shape), np.dtype(leaf.dtype))
            for path, leaf in flatten_paths(state).items()
        }
        different = [
            f"{path}: the checkpoint has {_describe(found.get(path))}, "
            f"this run {_describe(expected.get(path))}"
            for path in sorted(expected.keys() | found.keys())
            if expected.get(path) != found.get(path)
        ]
        if different:
            shown = "\n  ".join(different[:5]) + (
                f"\n  and {len(different) - 5} more" if len(different) > 5 else ""
            )
            raise CheckpointError(
                f"{self._folder}/{step} is of another model, class count or optimizer:\n  {shown}\n"
                "Resume with the configuration of that run, or start a new run under another name."
            )

    @contextlib.contextmanager
    def _unreadable(self, step: int) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            raise CheckpointError(
                f"{self._folder}/{step}: cannot be read ({_first_line(error)}); delete that folder to resume "
                f"from an earlier one (there are: {self.steps()})"
            ) from error

    @contextlib.contextmanager
    def _named_failure(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            raise CheckpointError(
                f"{self._folder}: the checkpoint could not be written ({_first_line(error)}). The last whole "
                f"one is of step {self.latest()}. Free some space and resume the run from it."
            ) from error


def _describe(leaf: tuple[tuple[int, ...], np.dtype] | None) -> str:
    return "nothing" if leaf is None else f"{leaf[1]}{list(leaf[0])}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


class Checkpoint(Hook):
    """Saves every ``every`` steps, at scores better than before, and at the end, also after an interrupt.

    Args:
      checkpoints: where to.
      placement: of the state.
      every: steps between saves.
      position: gives where the data stands: what was consumed, not what was prefetched.
      hooks: whose memory goes along, each of a class of its own.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        placement: Placement,
        *,
        every: int,
        position: Callable[[], Any],
        hooks: Sequence[Hook] = (),
    ) -> None:
        self._checkpoints = checkpoints
        self._placement = placement
        self._every = every
        self._position = position
        self._hooks = hooks

    def after_step(self, progress: Progress) -> None:
        """Saves if it is time."""
        if progress.step % self._every == 0 or self._checkpoints.improves(progress.scores):
            self._save(progress)

    def after(self, progress: Progress) -> None:
        """Saves if the run ended in order; after an error, the last regular checkpoint stays the newest."""
        # Processes save together: one that failed by itself would wait for the others, and they for it.
        alone = progress.failed and jax.process_count() > 1
        if progress.stop is not None and progress.metrics and not alone:
            self._save(progress)
        self._checkpoints.wait()

    def _save(self, progress: Progress) -> None:
        started = time.perf_counter()
        # A step that was not finite is the NaN guard's matter, and belongs into no checkpoint.
        if bool(np.all(host_values(progress.metrics["finite"]))):
            memories = {type(hook).__name__: hook.memory() for hook in self._hooks}
            position = {"data": self._position(), "hooks": memories}
            # Of its own, for the next step reuses the memory while the save still runs in the background.
            state = self._placement.snapshot(progress.state)
            self._checkpoints.save(progress.step, state, position, scores=progress.scores)
        progress.paused += time.perf_counter() - started


def resume(
    checkpoints: Checkpoints, state: TrainState, hooks: Sequence[Hook], *, step: int | None = None
) -> tuple[TrainState, Any]:
    """Restores a state, gives the hooks their memory back, and returns the data's position.

    Memory belongs to a hook by the name of its class: one that the run did not have before starts afresh.
    """
    restored, position = checkpoints.restore(state, step=step)
    for hook in hooks:
        memory = position["hooks"].get(type(hook).__name__)
        if memory is not None:
            hook.remember(memory)
    return restored, position["data"]
