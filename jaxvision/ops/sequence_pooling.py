"""A padded sequence ``[N, T, C]`` as one vector ``[N, C]``: mean or maximum over its steps, and weights."""

import jax
import jax.numpy as jnp

from jaxvision.core import check_floating, check_layout


def sequence_mean(x: jax.Array, *, where: jax.Array) -> jax.Array:
    """Mean over the steps of each sequence; zeros for one without a step.

    Args:
      x: ``[N, T, C]``, floating; what is in the padding does not matter, nan included.
      where: bool ``[N, T]``, true where there is a step.

    Returns:
      ``[N, C]``.

    Raises:
      ValueError: if shapes or dtypes do not fit.

    >>> x = jnp.array([[[1.0], [3.0], [9.0]]])
    >>> sequence_mean(x, where=jnp.array([[True, True, False]]))
    Array([[2.]], dtype=float32)
    """
    mask = _mask(x, where)
    count = jnp.maximum(where.sum(1, keepdims=True), 1).astype(x.dtype)  # [N, 1]
    return jnp.where(mask, x, 0).sum(1) / jnp.broadcast_to(count, (x.shape[0], x.shape[2]))


def sequence_max(x: jax.Array, *, where: jax.Array) -> jax.Array:
    """The greatest value of each channel over the steps of each sequence; zeros for one without a step.

    Args:
      x: ``[N, T, C]``, floating; what is in the padding does not matter.
      where: bool ``[N, T]``, true where there is a step.

    Returns:
      ``[N, C]``.

    Raises:
      ValueError: if shapes or dtypes do not fit.

    >>> x = jnp.array([[[-1.0], [-3.0], [9.0]]])
    >>> sequence_max(x, where=jnp.array([[True, True, False]]))
    Array([[-1.]], dtype=float32)
    """
    mask = _mask(x, where)
    if x.shape[1] == 0:
        return jnp.zeros((x.shape[0], x.shape[2]), x.dtype)
    greatest = jnp.where(mask, x, -jnp.inf).max(1)  # [N, C]
    return jnp.where(where.any(1)[:, None], greatest, 0)


def sequence_weights(scores: jax.Array, *, where: jax.Array) -> jax.Array:
    """Softmax over the steps of each sequence; zeros in the padding, and everywhere in one without a step.

    Args:
      scores: ``[N, T]``, floating.
      where: bool ``[N, T]``, true where there is a step.

    Returns:
      ``[N, T]``; each row sums to one, or to zero without a step.

    Raises:
      ValueError: if shapes or dtypes do not fit.

    >>> sequence_weights(jnp.array([[2.0, 2.0, 7.0]]), where=jnp.array([[True, True, False]]))
    Array([[0.5, 0.5, 0. ]], dtype=float32)
    """
    check_layout("scores", scores, "N T")
    check_floating(scores=scores)
    _check_where(where, scores.shape)
    if scores.shape[1] == 0:
        return scores
    # A row without a step is all zeros in front of the softmax, so that no gradient is nan.
    some = where.any(1)[:, None]
    masked = jnp.where(where, scores, jnp.where(some, -jnp.inf, 0.0))
    return jnp.where(where, jax.nn.softmax(masked, axis=1), 0)


def _mask(x: jax.Array, where: jax.Array) -> jax.Array:
    """``where`` as bool ``[N, T, C]``."""
    check_layout("x", x, "N T C", remedy="add a batch axis or flatten the last ones")
    check_floating(x=x)
    _check_where(where, x.shape[:2])
    return jnp.broadcast_to(where[..., None], x.shape)


def _check_where(where: jax.Array, shape: tuple[int, ...]) -> None:
    if where.shape != shape or where.dtype != jnp.bool_:
        raise ValueError(
            f"where: expected bool [N, T], here {list(shape)}, got {where.dtype} {list(where.shape)}; "
            "sequence_mask makes it of lengths"
        )
