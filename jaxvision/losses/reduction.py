"""From unreduced losses to the number that is minimised, without a division too early.

A mean of means is not the mean: two devices, or two micro-batches, that hold different numbers of
valid pixels must add their totals and their weights before anything is divided. So a loss that feeds
a training step ends in a :class:`jaxvision.core.Term`, terms are added (by :func:`add_terms` over batches, by
``psum`` over devices), and ``Term.mean`` comes last.
"""

import jax
import jax.numpy as jnp

from jaxvision.core import Term, check_same_shape, expand_where


def add_terms(*terms: Term) -> Term:
    """Adds terms of different batches: totals to totals, weights to weights.

    >>> import jax.numpy as jnp
    >>> one = sum_term(jnp.array([1.0, 2.0, 3.0]))
    >>> two = sum_term(jnp.array([10.0, 99.0]), where=jnp.array([True, False]))
    >>> float(add_terms(one, two).mean())
    4.0
    """
    return jax.tree.map(lambda *fields: sum(fields[1:], start=fields[0]), *terms)


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
