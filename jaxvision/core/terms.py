"""A mean that can be taken over batches, devices and hosts: its sum and its weight, kept apart."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Term(NamedTuple):
    """A weighted sum and the sum of its weights.

    Terms of two batches, or of two devices, add up field by field; only then is the mean taken. So a
    padded or ignored pixel weighs nothing, however the images were dealt out.
    """

    total: jax.Array  # float32 scalar
    weight: jax.Array  # float32 scalar


def mean_of(term: Term) -> jax.Array:
    """Total / weight, and 0 where the weight is 0 (a batch of which every pixel is ignored).

    >>> float(mean_of(Term(jnp.float32(6.0), jnp.float32(4.0))))
    1.5
    """
    return term.total / jnp.where(term.weight > 0, term.weight, 1.0)


def sum_of_means(terms: Mapping[str, Term]) -> jax.Array:
    """The loss of several terms: each one's mean, added.

    >>> one, two = Term(jnp.float32(3.0), jnp.float32(1.0)), Term(jnp.float32(1.0), jnp.float32(2.0))
    >>> float(sum_of_means({"cross_entropy": one, "dice": two}))
    3.5
    """
    return sum((mean_of(term) for term in terms.values()), start=jnp.float32(0.0))
