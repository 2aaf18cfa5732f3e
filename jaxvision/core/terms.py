"""A mean that can be taken over batches, devices and hosts: its sum and its weight, kept apart."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Term(NamedTuple):
    """A sum of weighted values and the sum of their weights; terms add field by field.

    A mean of means is not the mean: two devices, or two batches, that hold different numbers of valid
    pixels add their totals and their weights before anything is divided.

    Attributes:
      total: float32 [], the weighted sum.
      weight: float32 [], the sum of the weights.

    >>> float(Term(jnp.float32(6.0), jnp.float32(4.0)).mean())
    1.5
    """

    total: jax.Array
    weight: jax.Array

    def mean(self) -> jax.Array:
        """``total / weight``, or 0 with zero gradients where nothing weighs anything."""
        empty = self.weight == 0
        return jnp.where(empty, 0.0, self.total / jnp.where(empty, 1.0, self.weight))
