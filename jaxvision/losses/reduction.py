"""From unreduced losses to the number that is minimised, without a division too early.

A mean of means is not the mean: two devices, or two micro-batches, that hold different numbers of
valid pixels must add their totals and their weights before anything is divided. So a loss that feeds
a training step ends in a :class:`jaxvision.core.Term`, terms are added (by :func:`add_terms` over batches, by
``psum`` over devices), and ``Term.mean`` comes last.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxvision.core import Term, check_same_shape


def add_terms(*terms: Term) -> Term:
    """Adds terms of different batches: totals to totals, weights to weights.

    >>> import jax.numpy as jnp
    >>> one = sum_term(jnp.array([1.0, 2.0, 3.0]))
    >>> two = sum_term(jnp.array([10.0, 99.0]), where=jnp.array([True, False]))
    >>> float(add_terms(one, two).mean())
    4.0
    """
    return jax.tree.map(lambda *fields: sum(fields[1:], start=fields[0]), *terms)


def expand_where(where: jax.Array | None, shape: tuple[int, ...]) -> jax.Array:
    """Broadcasts a validity mask over the trailing axes of an array of values.

    Args:
      where: bool, the leading axes of ``shape`` (``[N]`` marks whole images, ``[N, H, W]`` pixels), or
        None for all valid.
      shape: the shape of the values.

    Returns:
      bool ``shape``.

    Raises:
      ValueError: if ``where`` is not boolean or not the leading axes of ``shape``.

    >>> import jax.numpy as jnp
    >>> expand_where(jnp.array([True, False]), (2, 3)).tolist()
    [[True, True, True], [False, False, False]]
    """
    if where is None:
        return jnp.ones(shape, bool)
    if where.dtype != jnp.bool_:
        raise ValueError(f"where: expected a boolean mask, got {where.dtype}; compare it with 0 first")
    if where.shape != shape[: where.ndim]:
        raise ValueError(
            f"where: expected {list(shape)} or its leading axes, got {list(where.shape)}; "
            "mask either whole examples or single values"
        )
    return jnp.broadcast_to(lax.expand_dims(where, range(where.ndim, len(shape))), shape)


def sum_term(values: jax.Array, *, weights: jax.Array | None = None, where: jax.Array | None = None) -> Term:
    r"""Sums unreduced losses, and their weights, into a :class:`jaxvision.core.Term`.

    .. math:: \left(\sum_i m_i v_i,\; \sum_i m_i w_i\right)

    Args:
      values: floating [...], losses that already carry their weights (as those of
        :func:`jaxvision.losses.cross_entropy_loss` do).
      weights: floating [...], what each value counts for in the divisor; 1 each if not given.
      where: bool, the shape of ``values`` or its leading axes; False leaves a value out.

    Returns:
      The term, in float32.

    Raises:
      ValueError: if the shapes do not fit.
    """
    mask = expand_where(where, values.shape)
    if weights is None:
        weights = jnp.ones(values.shape, jnp.float32)
    check_same_shape(values=values, weights=weights)
    return Term(
        jnp.sum(values.astype(jnp.float32), where=mask), jnp.sum(weights.astype(jnp.float32), where=mask)
    )


def masked_mean(values: jax.Array, *, where: jax.Array | None = None) -> jax.Array:
    """Mean of the valid values of one batch on one device; 0 where nothing is valid.

    Args:
      values: floating [...].
      where: bool, the shape of ``values`` or its leading axes.

    Returns:
      float32 [].

    Raises:
      ValueError: if the shapes do not fit.

    >>> import jax.numpy as jnp
    >>> float(masked_mean(jnp.array([1.0, 3.0, 50.0]), where=jnp.array([True, True, False])))
    2.0
    """
    return sum_term(values, where=where).mean()
