"""One optimizer out of a recipe and all that training puts around it, in the order that is right."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import optax

from jaxvision.optimizers.average import track_average
from jaxvision.optimizers.clipping import adaptive_clip
from jaxvision.optimizers.groups import add_l1, check_patterns, decay_mask, freeze_leaves, scale_by_group
from jaxvision.optimizers.plateau import scale_on_plateau
from jaxvision.optimizers.recipes import LearningRate, Mask, create


def build_optimizer(
    name: str,
    schedule: LearningRate,
    *,
    params: Any = None,
    options: Mapping[str, Any] = MappingProxyType({}),
    agc: float | None = None,
    agc_exclude: Sequence[str] = ("head",),
    clip_value: float | None = None,
    clip_norm: float | None = None,
    l1: float = 0.0,
    l2: float = 0.0,
    weight_decay: float | None = None,
    decayed: Mask | None = decay_mask,
    rates: Mapping[str, float] = MappingProxyType({}),
    plateau: bool = False,
    freeze: Sequence[str] = (),
    ema: float | None = None,
    ema_ramp: bool = False,
    accumulate: int = 1,
) -> optax.GradientTransformation:
    """Composes a recipe with clipping, penalties, groups, plateau, freezing, averaging and accumulation.

    A gradient passes through these stages, in this order (those not asked for are not there):

    1. accumulation: the mean of ``accumulate`` batches; the stages below run once for each such group, so
       that a clip sees the gradient of the large batch and schedules count updates;
    2. freezing: stages 3 to 8 see only the other leaves (no moments, no share in the norm);
    3. clip each unit adaptively, then by value, then by global norm: the raw gradient, before any penalty, as
       where torch's ``clip_grad_*`` is called;
    4. L1 and L2 penalties, coupled: they pass through the recipe's statistics;
    5. the recipe's direction;
    6. decoupled weight decay;
    7. the learning rate, then the factors of the groups (a group's decay is scaled too, as torch's
       ``param_groups`` do);
    8. the plateau's scale (see ``observe_score``);
    9. the average of the parameters, frozen ones included (see ``ema_params``).

    The state is a pytree of arrays: it can be saved, restored, replicated and sharded.

    Args:
      name: a recipe, see ``create``.
      schedule: a number or an Optax schedule.
      params: the parameters or their shapes; needed to check patterns.
      options: the recipe's own keyword arguments.
      agc: largest norm of a unit's gradient as a share of the unit's norm; see ``adaptive_clip``.
      agc_exclude: path patterns of the leaves that ``agc`` leaves alone: the last linear layer.
      clip_value: largest absolute value of a gradient's element.
      clip_norm: largest global norm of the gradient (torch adds 1e-6 to the norm, Optax does not).
      l1: strength of the L1 penalty.
      l2: strength of the L2 penalty: torch's ``weight_decay`` for all but AdamW.
      weight_decay: decoupled decay; None leaves the recipe's default (0, for adamw 0.01).
      decayed: tree -> tree of bools, the leaves that ``l1``, ``l2`` and ``weight_decay`` touch; by default
        all but norms and biases; None for all (torch's way).
      rates: path pattern -> learning-rate factor; the first match counts.
      plateau: whether the validation score lowers the rate.
      freeze: path patterns of leaves that stay bit-equal.
      ema: decay of the average of the parameters.
      ema_ramp: whether the average forgets the start faster; see ``track_average``.
      accumulate: batches an update.

    Returns:
      The transformation; ``update`` needs ``params``.

    Raises:
      ValueError: for an unknown recipe, a pattern that matches nothing, patterns without ``params``, or a
        number out of range.
      TypeError: if the recipe has no such option.

    >>> import jax.numpy as jnp
    >>> params = {"backbone": jnp.ones((2, 2)), "head": jnp.ones((2, 2))}
    >>> optimizer = build_optimizer("sgd", 0.1, params=params, freeze=["backbone"], clip_norm=1.0)
    >>> updates, state = optimizer.update(params, optimizer.init(params), params)
    >>> print(abs(updates["backbone"][0]), updates["head"][0])
    [0. 0.] [-0.05 -0.05]
    """
    _check_numbers(agc=agc, clip_value=clip_value, clip_norm=clip_norm)
    if accumulate < 1:
        raise ValueError(f"accumulate: expected a number of batches >= 1, got {accumulate}")
    patterns = [*freeze, *rates, *(agc_exclude if agc is not None else ())]
    if patterns and params is None:
        raise ValueError(f"the patterns {patterns} need params (or their shapes) to be checked against")
    check_patterns(patterns, params)

    decay = {} if weight_decay is None else {"weight_decay": weight_decay}
    stages = [
        *([adaptive_clip(agc, exclude=agc_exclude)] if agc is not None else []),
        *([optax.clip(clip_value)] if clip_value is not None else []),
        *([optax.clip_by_global_norm(clip_norm)] if clip_norm is not None else []),
        *([_masked(add_l1(l1), decayed)] if l1 else []),
        *([optax.add_decayed_weights(l2, mask=decayed)] if l2 else []),
        create(name, schedule, **decay, decay_mask=decayed, **options),
        *([scale_by_group(rates)] if rates else []),
        *([scale_on_plateau()] if plateau else []),
    ]
    optimizer = optax.chain(*stages)
    if freeze:
        optimizer = freeze_leaves(optimizer, freeze)
    if ema is not None:
        optimizer = optax.chain(optimizer, track_average(ema, ramp=ema_ramp))
    if accumulate > 1:
        optimizer = optax.MultiSteps(optimizer, accumulate).gradient_transformation()
    return optimizer


def _masked(transform: optax.GradientTransformation, mask: Mask | None) -> optax.GradientTransformation:
    return transform if mask is None else optax.masked(transform, mask)


def _check_numbers(**limits: float | None) -> None:
    for name, limit in limits.items():
        if limit is not None and limit <= 0:
            raise ValueError(f"{name}: expected a number > 0, got {limit}; leave it out to not clip")
