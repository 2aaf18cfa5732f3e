"""Scores of a state over a whole data set."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

from jaxvision.training.fit import Hook, Progress
from jaxvision.training.parallel import Placement
from jaxvision.training.state import TrainState
from jaxvision.training.task import Batch


def evaluate(
    count: Callable[[Any, Batch], Any],
    score: Callable[[Any], dict[str, float]],
    variables: Any,
    batches: Iterable[Batch],
    placement: Placement,
) -> tuple[dict[str, float], Any]:
    """Adds the counts of every batch and scores the sum.

    Counts are added on the host: integers in int64, which 2,147 images of a million pixels would
    overflow in int32, and floats in float64.

    Args:
      count: compiled ``(variables, batch) -> counts``.
      score: ``counts -> scores``.
      variables: placed on the devices.
      batches: placed on the devices; each example once, padding marked by ``where``.
      placement: of the variables and the batches.

    Returns:
      The scores and the counts that they come from.

    Raises:
      ValueError: if there are no batches.
    """
    sums: Any = None
    pending: Any = None  # read one batch late, so that the device never waits for the host
    for batch in batches:
        counted = count(variables, batch)
        if pending is not None:
            sums = _add(sums, placement.fetch(pending))
        pending = counted
    if pending is None:
        raise ValueError("nothing to evaluate: the data set has no batch; check its folder and split")
    sums = _add(sums, placement.fetch(pending))
    return score(sums), sums


def _add(sums: Any, counts: Any) -> Any:
    wide = jax.tree.map(lambda x: np.asarray(x, np.int64 if x.dtype.kind in "iub" else np.float64), counts)
    return wide if sums is None else jax.tree.map(np.add, sums, wide)


class Evaluate(Hook):
    """Evaluates every ``every`` steps and at step ``last``, and puts the scores into the progress.

    Args:
      run: ``state -> scores``.
      every: steps between evaluations.
      last: the last step of the run, which is evaluated too.
      observe: ``(opt_state, scores) -> opt_state``, for a learning rate that halves on a plateau; or None.
    """

    def __init__(
        self,
        run: Callable[[TrainState], dict[str, float]],
        *,
        every: int,
        last: int,
        observe: Callable[[Any, dict[str, float]], Any] | None = None,
    ) -> None:
        self._run = run
        self._every = every
        self._last = last
        self._observe = observe

    def after_step(self, progress: Progress) -> None:
        """Evaluates if it is time."""
        if progress.step % self._every and progress.step != self._last:
            return
        jax.block_until_ready(progress.state)  # the step's time is training time
        started = time.perf_counter()
        progress.scores = self._run(progress.state)
        if self._observe is not None:
            opt_state = self._observe(progress.state.opt_state, progress.scores)
            progress.state = progress.state.replace(opt_state=opt_state)
        progress.paused += time.perf_counter() - started
