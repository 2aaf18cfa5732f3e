"""Vectors of pairs of nodes from the vectors of their ends: node2vec's binary operators."""

import jax
import jax.numpy as jnp

from jaxvision.core import check_layout, check_same_shape

__all__ = ["EDGE_OPERATORS", "edge_features"]

EDGE_OPERATORS = ("hadamard", "average", "l1", "l2")
"""What :func:`edge_features` can do, as table 1 of the paper names it."""


def edge_features(first: jax.Array, second: jax.Array, *, operator: str) -> jax.Array:
    r"""Features of pairs that do not depend on the order of a pair's ends.

    .. math::
        u_i v_i \text{ (hadamard)}, \quad (u_i + v_i) / 2 \text{ (average)}, \quad
        |u_i - v_i| \text{ (l1)}, \quad (u_i - v_i)^2 \text{ (l2)}

    Args:
      first: floating ``[..., D]``, of one end of each pair.
      second: the same shape, of the other.
      operator: one of :data:`EDGE_OPERATORS`.

    Returns:
      The same shape.

    Raises:
      ValueError: for another operator, or other shapes.

    References:
      Grover and Leskovec 2016, *node2vec: Scalable Feature Learning for Networks*, table 1.

    >>> edge_features(jnp.array([1.0, 2.0]), jnp.array([3.0, 0.0]), operator="l2")
    Array([4., 4.], dtype=float32)
    """
    check_layout("first", first, "... D")
    check_same_shape(first=first, second=second)
    if operator == "hadamard":
        return first * second
    if operator == "average":
        return (first + second) / 2
    if operator == "l1":
        return jnp.abs(first - second)
    if operator == "l2":
        return jnp.square(first - second)
    raise ValueError(f"operator: expected one of {', '.join(EDGE_OPERATORS)}, got {operator!r}")
