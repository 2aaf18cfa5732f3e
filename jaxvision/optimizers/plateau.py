"""A learning rate that halves when the validation score stops getting better.

The decision needs a score that the train step never sees. So it is split: a transform that scales the
updates by a number in its state, and a pure function with which the evaluation changes that number::

    optimizer = optax.chain(optimizers.adam(1e-3), scale_on_plateau())
    ...
    opt_state = observe_score(opt_state, mean_iou, mode="max", patience=3)   # after each evaluation

The state is four scalars, so a checkpoint resumes in the middle of a plateau.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class PlateauState(NamedTuple):
    """What the decision remembers; each a scalar array.

    Attributes:
      scale: float32, what the updates are multiplied by; 1 at first.
      best: float32, the best score so far; nan before the first.
      bad: int32, observations since the best score that were no better.
      cooldown: int32, observations left during which nothing counts as bad.
    """

    scale: jax.Array
    best: jax.Array
    bad: jax.Array
    cooldown: jax.Array


def scale_on_plateau() -> optax.GradientTransformation:
    """Scales updates by a factor that only :func:`observe_score` changes; place it after the learning rate.

    >>> import jax.numpy as jnp
    >>> transform = scale_on_plateau()
    >>> state = transform.init({})
    >>> for score in (0.5, 0.4, 0.4):
    ...     state = observe_score(state, score, mode="max", patience=1)
    >>> transform.update(jnp.array([1.0, 2.0]), state)[0].tolist()
    [0.5, 1.0]
    """

    def init(params: Any) -> PlateauState:
        del params
        return PlateauState(
            jnp.ones([], jnp.float32),
            jnp.full([], jnp.nan, jnp.float32),
            jnp.zeros([], jnp.int32),
            jnp.zeros([], jnp.int32),
        )

    def update(updates: Any, state: PlateauState, params: Any = None) -> tuple[Any, PlateauState]:
        del params
        return jax.tree.map(lambda u: u * state.scale.astype(u.dtype), updates), state

    return optax.GradientTransformation(init, update)


def observe_score(
    opt_state: Any,
    score: float | jax.Array,
    *,
    mode: str = "max",
    factor: float = 0.5,
    patience: int = 10,
    threshold: float = 1e-4,
    threshold_mode: str = "rel",
    cooldown: int = 0,
    min_scale: float = 0.0,
) -> Any:
    """Tells the optimizer a validation score; may lower its learning-rate scale.

    Decides as ``torch.optim.lr_scheduler.ReduceLROnPlateau``, whose defaults these are but for mode and
    factor. A nan score is not better than anything.

    Args:
      opt_state: any optimizer state that holds a :class:`PlateauState` (chained, masked, accumulated, or
        replicated over devices, with leading axes).
      score: the score, a number.
      mode: "max" if larger is better, "min" if smaller is.
      factor: what the scale is multiplied by, in (0, 1).
      patience: observations without improvement that are borne; the next one lowers the scale.
      threshold: by how much a score must beat the best one.
      threshold_mode: "rel" (a share of the best score) or "abs".
      cooldown: observations after a reduction during which nothing counts as bad.
      min_scale: the scale is never lower than this.

    Returns:
      The state with the same structure; all else in it is untouched.

    Raises:
      ValueError: if the state holds no PlateauState, or an option is unknown.
    """
    if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
        raise ValueError(
            "expected mode 'min' or 'max' and threshold_mode 'rel' or 'abs', "
            f"got {mode!r} and {threshold_mode!r}"
        )
    if not 0.0 < factor < 1.0:
        raise ValueError(f"factor: expected a number in (0, 1), got {factor}")
    value = jnp.asarray(score, jnp.float32)
    sign = 1.0 if mode == "max" else -1.0

    def observe(state: PlateauState) -> PlateauState:
        margin = threshold * (state.best if threshold_mode == "rel" else 1.0)
        first = jnp.isnan(state.best) & jnp.isfinite(value)
        better = first | (sign * value > sign * state.best + margin)
        bad = jnp.where(better | (state.cooldown > 0), 0, state.bad + 1)
        reduce = bad > patience
        lowered = jnp.maximum(state.scale * factor, min_scale)
        return PlateauState(
            scale=jnp.where(reduce, lowered, state.scale),
            best=jnp.where(better, value, state.best),
            bad=jnp.where(reduce, 0, bad),
            cooldown=jnp.where(reduce, cooldown, jnp.maximum(state.cooldown - 1, 0)),
        )

    if not any(map(_is_plateau, jax.tree.leaves(opt_state, is_leaf=_is_plateau))):
        raise ValueError(
            "the optimizer state holds no PlateauState; build the optimizer with plateau=True, or chain "
            "scale_on_plateau() after it"
        )
    return jax.tree.map(
        lambda node: observe(node) if _is_plateau(node) else node, opt_state, is_leaf=_is_plateau
    )


def _is_plateau(node: Any) -> bool:
    return isinstance(node, PlateauState)
