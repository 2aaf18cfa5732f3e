"""The learning-rate range test: a short run whose rate rises, to see at which rates the loss falls."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import optax

from jaxvision.training.parallel import host_values
from jaxvision.training.state import TrainState

_SMOOTHING = 0.9  # of the exponential mean of the losses
_EXPLODED = 4.0  # times the least loss ends the test
_SAFETY = 10.0  # the suggestion is the rate of the least loss over this


class RateRange(NamedTuple):
    """What a range test saw, one entry a step.

    Attributes:
      rates: learning rates, rising.
      losses: of the batches, each before its step.
      smoothed: exponential mean of the losses.
      suggestion: a tenth of the rate at which the smoothed loss is least; None if the loss never fell.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggestion: float | None


def rising_schedule(least: float, greatest: float, *, steps: int) -> optax.Schedule:
    """Rates that rise from ``least`` to ``greatest``, each by the same factor.

    Raises:
      ValueError: unless 0 < least < greatest and there are 2 steps or more.
    """
    if not 0 < least < greatest or steps < 2:
        raise ValueError(
            f"expected 0 < least < greatest and 2 steps or more, got {least} to {greatest} in {steps} steps"
        )
    return optax.exponential_decay(least, steps - 1, greatest / least)


def run_rate_range(
    state: TrainState,
    step: Callable[[Any, Any], tuple[Any, Any]],
    batches: Iterable[Any],
    rates: Sequence[float],
) -> RateRange:
    """Trains one step a rate, until the loss has exploded or the rates are used up.

    Args:
      state: placed on the devices; used up.
      step: compiled, of an optimizer whose rate follows :func:`rising_schedule`.
      batches: placed on the devices.
      rates: of the steps, for the record.

    References:
      Smith 2017, "Cyclical Learning Rates for Training Neural Networks", section 3.3. There the rate rises
      linearly and accuracy is watched; here it rises by a factor, which covers many magnitudes, and the
      training loss is watched, which needs no evaluation.
    """
    losses: list[float] = []
    for batch, _ in zip(batches, rates, strict=False):
        state, metrics = step(state, batch)
        loss, finite = host_values((metrics["loss"], metrics["finite"]))
        if not np.all(finite):
            break
        losses.append(float(np.ravel(loss)[0]))
        smoothed = smooth(losses)
        if smoothed[-1] > _EXPLODED * min(smoothed):
            break
    return make_rate_range(rates[: len(losses)], losses)


def make_rate_range(rates: Sequence[float], losses: Sequence[float]) -> RateRange:
    """Smooths the losses and finds the suggestion.

    Raises:
      ValueError: if there is no loss, or not one a rate.
    """
    if len(losses) == 0 or len(losses) != len(rates):
        raise ValueError(
            f"expected a finite loss for each rate, got {len(losses)} losses of {len(rates)} rates; "
            "start at a lower rate"
        )
    smoothed = smooth(losses)
    best = int(np.argmin(smoothed))
    suggestion = None if best == 0 else float(rates[best]) / _SAFETY
    return RateRange(tuple(map(float, rates)), tuple(map(float, losses)), tuple(smoothed), suggestion)


def smooth(values: Sequence[float], *, decay: float = _SMOOTHING) -> list[float]:
    """Exponential mean of the values so far, without the pull towards 0 at the start.

    >>> smooth([2.0, 2.0, 5.0], decay=0.5)
    [2.0, 2.0, 3.7142857142857144]
    """
    mean, smoothed = 0.0, []
    for index, value in enumerate(values, start=1):
        mean = decay * mean + (1 - decay) * value
        smoothed.append(mean / (1 - math.pow(decay, index)))
    return smoothed
