"""Learning-rate schedules: plain Optax schedules (step -> rate) under the names of the papers.

A step is one update of the parameters: with gradient accumulation over k batches, count batches / k.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import optax


def constant_schedule(learning_rate: float) -> optax.Schedule:
    """The same rate at every step.

    >>> float(constant_schedule(0.1)(1000))
    0.1
    """
    return optax.constant_schedule(learning_rate)


def step_schedule(learning_rate: float, *, milestones: Sequence[int], gamma: float = 0.1) -> optax.Schedule:
    """Multiplies the rate by ``gamma`` at each milestone, as ``torch.optim.lr_scheduler.MultiStepLR``.

    Args:
      learning_rate: the rate before the first milestone.
      milestones: rising steps; the step of a milestone already has the new rate.
      gamma: factor.

    Raises:
      ValueError: if the milestones do not rise.

    >>> schedule = step_schedule(1.0, milestones=[2, 4], gamma=0.5)
    >>> [float(schedule(step)) for step in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """
    if list(milestones) != sorted(set(milestones)):
        raise ValueError(
            f"milestones: expected rising steps, got {list(milestones)}; sort them and drop repeats"
        )
    return optax.piecewise_constant_schedule(learning_rate, dict.fromkeys(milestones, gamma))


def poly_schedule(
    learning_rate: float, *, steps: int, power: float = 0.9, end: float = 0.0
) -> optax.Schedule:
    r"""Polynomial decay, the schedule of DeepLab and PSPNet.

    .. math:: (lr - end) (1 - \min(t, T) / T)^{power} + end

    Args:
      learning_rate: the rate at step 0.
      steps: T, where the decay ends.
      power: 0.9 in the papers; 1 is linear.
      end: the rate from step T on.

    Raises:
      ValueError: if ``steps`` is not positive.

    References:
      Chen et al. 2017, "DeepLab", section 4.1. Equal to torch's ``PolynomialLR`` for end = 0.

    >>> schedule = poly_schedule(1.0, steps=10, power=1.0)
    >>> [round(float(schedule(step)), 4) for step in (0, 5, 10, 20)]
    [1.0, 0.5, 0.0, 0.0]
    """
    _check_steps(steps)

    def schedule(count: jax.typing.ArrayLike) -> jax.Array:
        # No power of what a compiler's division by a constant leaves below 0: it would be nan from step T on.
        left = jnp.maximum(1 - jnp.clip(count, 0, steps) / steps, 0)
        return (learning_rate - end) * left**power + end

    return schedule


def cosine_schedule(
    learning_rate: float,
    *,
    steps: int,
    warmup_steps: int = 0,
    warmup_start: float = 0.0,
    end: float = 0.0,
) -> optax.Schedule:
    r"""Cosine decay after a linear warm-up.

    .. math::
        lr \left(f + (1 - f)\, t / W\right) \text{ for } t < W, \qquad
        end + \tfrac12 (lr - end) \left(1 + \cos \pi \tfrac{t - W}{T - W}\right) \text{ after}

    Args:
      learning_rate: the rate at the end of the warm-up.
      steps: T, the whole length, warm-up included.
      warmup_steps: W < T.
      warmup_start: f, the share of the rate at step 0. With 0 the first update is none.
      end: the rate from step T on.

    Raises:
      ValueError: if ``steps`` is not positive, the warm-up does not end before it, or a rate of 0 has an end.

    References:
      Loshchilov and Hutter 2017, "SGDR", equation 5, without restarts; Goyal et al. 2017, "Accurate, Large
      Minibatch SGD", section 2.2 (warm-up). Equal to torch's ``SequentialLR`` of ``LinearLR`` and
      ``CosineAnnealingLR``.

    >>> schedule = cosine_schedule(1.0, steps=6, warmup_steps=2)
    >>> [round(float(schedule(step)), 4) for step in (0, 1, 2, 4, 6)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    _check_steps(steps)
    if not 0 <= warmup_steps < steps:
        raise ValueError(f"warmup_steps: expected a number in [0, {steps}), got {warmup_steps}")
    if learning_rate == 0 and end != 0:
        raise ValueError(f"end: got {end} for a learning rate of 0, expected 0; there is nothing to decay")
    share = end / learning_rate if learning_rate else 0.0
    decay = optax.cosine_decay_schedule(learning_rate, steps - warmup_steps, alpha=share)
    if warmup_steps == 0:
        return decay
    warmup = optax.linear_schedule(warmup_start * learning_rate, learning_rate, warmup_steps)
    return optax.join_schedules([warmup, decay], [warmup_steps])


SCHEDULES: Mapping[str, Callable[..., optax.Schedule]] = MappingProxyType(
    {
        "constant": constant_schedule,
        "step": step_schedule,
        "poly": poly_schedule,
        "cosine": cosine_schedule,
    }
)
"""The schedules by name, for :func:`create_schedule`."""


def create_schedule(name: str, learning_rate: float, **options: Any) -> optax.Schedule:
    """Builds a schedule by name.

    Args:
      name: a key of ``SCHEDULES``.
      learning_rate: the (largest) rate.
      **options: the schedule's keyword arguments.

    Raises:
      ValueError: if no schedule has this name (the message lists close ones).
      TypeError: if the schedule has no such option, or lacks one it needs.

    >>> float(create_schedule("poly", 0.5, steps=10)(0))
    0.5
    """
    if name not in SCHEDULES:
        close = ", ".join(repr(match) for match in difflib.get_close_matches(name, SCHEDULES)) or "none"
        raise ValueError(f"unknown schedule {name!r}; close: {close}; all: {', '.join(SCHEDULES)}")
    return SCHEDULES[name](learning_rate, **options)


def _check_steps(steps: int) -> None:
    if steps <= 0:
        raise ValueError(f"steps: expected a number of updates > 0, got {steps}")
