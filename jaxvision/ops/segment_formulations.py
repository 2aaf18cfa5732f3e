"""Sums over segments written in the ways that platforms differ in; all give the numbers of ``segment_sum``.

:func:`jaxvision.ops.segment_sum` scatters, or gathers by a plan, which is what it takes on a CPU. A sparse
product stores its matrix of ones anew, and a dense one is worth it for a few segments only. They are here to
be compared.
"""

import jax
import jax.numpy as jnp
from jax.experimental import sparse


def dense_sum(values: jax.Array, segment_ids: jax.Array, num_segments: int) -> jax.Array:
    """Sums as one product with a one-hot matrix ``[S, E]``: for few segments.

    An infinite or nan row makes every segment nan, since zero times it is nan.

    Args:
      values: ``[E, F]``, floating.
      segment_ids: segment of each row ``[E]``.
      num_segments: number of segments S.

    Returns:
      ``[S, F]``.

    >>> dense_sum(jnp.array([[1.0], [2.0], [4.0]]), jnp.array([2, 0, 2]), 3)
    Array([[2.],
           [0.],
           [5.]], dtype=float32)
    """
    one_hot = jax.nn.one_hot(segment_ids, num_segments, axis=0, dtype=values.dtype)  # [S, E]
    return jnp.matmul(one_hot, values, precision="highest")


def bcoo_sum(values: jax.Array, segment_ids: jax.Array, num_segments: int) -> jax.Array:
    """Sums as a product with a sparse matrix of ones, ``jax.experimental.sparse.BCOO``.

    Arguments and result as :func:`dense_sum`.

    >>> bcoo_sum(jnp.array([[1.0], [2.0], [4.0]]), jnp.array([2, 0, 2]), 3)[:, 0]
    Array([2., 0., 5.], dtype=float32)
    """
    size = values.shape[0]
    places = jnp.stack([segment_ids, jnp.arange(size, dtype=segment_ids.dtype)], -1)  # [E, 2]
    return sparse.BCOO((jnp.ones(size, values.dtype), places), shape=(num_segments, size)) @ values


def sorted_sum(values: jax.Array, segment_ids: jax.Array, num_segments: int) -> jax.Array:
    """Sums as a scatter of rows sorted by segment, which some platforms do faster.

    Arguments and result as :func:`dense_sum`.

    >>> sorted_sum(jnp.array([[1.0], [2.0], [4.0]]), jnp.array([2, 0, 2]), 3)[:, 0]
    Array([2., 0., 5.], dtype=float32)
    """
    order = jnp.argsort(segment_ids, stable=True)
    zeros = jnp.zeros((num_segments, *values.shape[1:]), values.dtype)
    return zeros.at[segment_ids[order]].add(values[order], mode="drop", indices_are_sorted=True)
