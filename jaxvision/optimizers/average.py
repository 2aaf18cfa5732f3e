"""Exponential moving average of the parameters, kept in the optimizer's state.

Evaluation asks for the averaged parameters and runs the same forward pass with them::

    variables = {"params": ema_params(state.opt_state, state.params), **state.model_state}

Running statistics (``batch_stats``) are an average already and are used as they are.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class EmaState(NamedTuple):
    """State of :func:`track_average`.

    Attributes:
      step: int32 []: updates done so far.
      average: the averaged parameters, float32, of the parameters' structure.
    """

    step: jax.Array
    average: Any


def track_average(decay: float, *, ramp: bool = False) -> optax.GradientTransformation:
    r"""Averages the parameters that the updates lead to; the updates pass through unchanged.

    .. math:: a_t = d_t\, a_{t-1} + (1 - d_t)\, p_t, \qquad a_0 = p_0

    It must see the final updates: place it last in a chain (and inside gradient accumulation, so that it
    moves once an update).

    Args:
      decay: d in [0, 1). The average reaches back about 1 / (1 - d) updates.
      ramp: uses :math:`d_t = \min(d, (1 + t) / (10 + t))`, t = updates done, so that a short run soon
        forgets its initial parameters.

    Raises:
      ValueError: if ``decay`` is outside [0, 1).

    References:
      Polyak and Juditsky 1992 (averaging); Tarvainen and Valpola 2017, "Mean teachers", equation 1; the
      ramp is that of TensorFlow's ``ExponentialMovingAverage(num_updates)``.
    """
    if not 0.0 <= decay < 1.0:
        raise ValueError(f"decay: expected a number in [0, 1), got {decay}")

    def init(params: Any) -> EmaState:
        # A copy: state and parameters must not share a buffer, or the step could not donate both.
        average = jax.tree.map(lambda p: jnp.array(p, jnp.float32, copy=True), params)
        return EmaState(jnp.zeros([], jnp.int32), average)

    def update(updates: Any, state: EmaState, params: Any = None) -> tuple[Any, EmaState]:
        if params is None:
            raise ValueError(
                "track_average needs the parameters: call optimizer.update(gradients, state, params)"
            )
        done = state.step.astype(jnp.float32)
        rest = 1.0 - (jnp.minimum(decay, (1.0 + done) / (10.0 + done)) if ramp else decay)
        after = optax.apply_updates(params, updates)
        # a + (1 - d)(p - a): a parameter that never moves stays bit-equal.
        average = jax.tree.map(lambda a, p: a + rest * (p.astype(jnp.float32) - a), state.average, after)
        return updates, EmaState(optax.safe_increment(state.step), average)

    return optax.GradientTransformation(init, update)


def ema_params(opt_state: Any, params: Any) -> Any:
    """The averaged parameters, found anywhere in an optimizer state.

    Args:
      opt_state: the state of an optimizer that holds :func:`track_average`.
      params: the current parameters, for structure and dtypes.

    Returns:
      A tree like ``params``.

    Raises:
      ValueError: if the state holds no average, or more than one.
    """
    nodes = jax.tree.leaves(opt_state, is_leaf=_is_average)
    found = [node for node in nodes if _is_average(node)]
    if len(found) != 1:
        raise ValueError(
            f"the optimizer state holds {len(found)} averages, expected 1; build the optimizer with ema=0.999"
        )
    return jax.tree.map(lambda p, a: a.astype(p.dtype), params, found[0].average)


def _is_average(node: Any) -> bool:
    return isinstance(node, EmaState)
