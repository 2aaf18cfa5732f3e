"""Draws from any discrete distribution in constant time, by Walker's alias method."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.core import check_layout

__all__ = ["AliasTable", "alias_table", "sample_alias"]


class AliasTable(NamedTuple):
    """A distribution over V outcomes as V equal columns of at most two outcomes each.

    Attributes:
      threshold: float32 ``[V]``, the share of column i that is outcome i.
      alias: int32 ``[V]``, the outcome of the rest.
    """

    threshold: jax.Array
    alias: jax.Array


def alias_table(weights: np.ndarray) -> AliasTable:
    """Builds the table on the host, in time proportional to V.

    Args:
      weights: ``[V]``, 0 or more, of any sum.

    Raises:
      ValueError: if there is no weight, one is negative or not finite, or all are 0.

    References:
      Walker 1977, *An Efficient Method for Generating Discrete Random Variables with General Distributions*;
      Vose 1991, *A Linear Algorithm for Generating Random Numbers with a Given Distribution*, for the order
      in which the columns are filled.

    >>> table = alias_table(np.array([1.0, 3.0]))
    >>> table.threshold, table.alias
    (Array([0.5, 1. ], dtype=float32), Array([1, 1], dtype=int32))
    """
    shares = np.array(weights, np.float64)
    check_layout("weights", shares, "V")  # type: ignore[arg-type]
    if not len(shares) or not np.isfinite(shares).all() or shares.min() < 0 or shares.max() == 0:
        raise ValueError(
            f"weights: expected finite numbers of 0 or more, not all 0, got {len(shares)} from "
            f"{shares.min(initial=0):g} to {shares.max(initial=0):g}"
        )
    shares /= shares.max()  # first: a sum of the smallest or largest numbers is out of a float's range
    shares *= len(shares) / shares.sum()
    threshold, alias = np.ones(len(shares)), np.arange(len(shares), dtype=np.int32)
    low = list(np.flatnonzero(shares < 1))
    high = list(np.flatnonzero(shares >= 1))
    while low and high:
        short, tall = low.pop(), high[-1]
        threshold[short], alias[short] = shares[short], tall
        shares[tall] -= 1 - shares[short]
        if shares[tall] < 1:
            low.append(high.pop())
    # What is left in either list differs from 1 by rounding only.
    return AliasTable(jnp.asarray(threshold, jnp.float32), jnp.asarray(alias))


def sample_alias(key: jax.Array, table: AliasTable, shape: tuple[int, ...]) -> jax.Array:
    """Independent draws, int32 of the given shape; two random numbers and two look-ups each.

    Args:
      key: a JAX key.
      table: of :func:`alias_table`.
      shape: of the result.
    """
    size = table.threshold.shape[0]
    column_key, share_key = jax.random.split(key)
    column = jax.random.randint(column_key, shape, 0, size, dtype=jnp.int32)
    share = jax.random.uniform(share_key, shape)
    return jnp.where(share < table.threshold[column], column, table.alias[column])
