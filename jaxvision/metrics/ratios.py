"""Quotients of counts, for JAX arrays and for NumPy's alike; 0 / 0 is nan, and is left out of a mean."""

from types import ModuleType
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

Array: TypeAlias = jax.Array | np.ndarray


def widen(counts: Array) -> tuple[ModuleType, Array]:
    """The module that computes with the counts, and the counts as floats, before any sum overflows.

    Args:
      counts: integer or floating [...].

    Returns:
      ``jax.numpy`` and float32 for a JAX array, ``numpy`` and float64 for all else.
    """
    if isinstance(counts, jax.Array):
        return jnp, counts.astype(jnp.float32)
    return np, np.asarray(counts, np.float64)


def widen_matrix(counts: Array) -> tuple[ModuleType, Array]:
    """:func:`widen` for a confusion matrix.

    Args:
      counts: integer [K, K].

    Raises:
      ValueError: if ``counts`` is not square.
    """
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ValueError(
            f"counts: expected a square matrix [K, K] of counts, got {list(counts.shape)}; "
            "see confusion_matrix"
        )
    return widen(counts)


def divide(xp: ModuleType, numerator: Array, denominator: Array) -> Array:
    """``numerator / denominator``, nan where the denominator is 0; equal shapes."""
    empty = denominator == 0
    return xp.where(empty, xp.nan, numerator / xp.where(empty, 1.0, denominator))


def mean_of_defined(xp: ModuleType, scores: Array) -> Array:
    """Mean of the scores that are not nan; nan if none is."""
    scored = ~xp.isnan(scores)
    return divide(xp, xp.where(scored, scores, 0.0).sum(), scored.sum())
