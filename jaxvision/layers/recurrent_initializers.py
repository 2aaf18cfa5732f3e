"""Initialisers of recurrent layers, whose kernels hold several gates side by side."""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.layers.initializers import Initializer


def gate_initializer(
    init: Initializer, *, num_gates: int, constants: Mapping[int, float] = MappingProxyType({})
) -> Initializer:
    """Initialiser of the gates of a recurrent layer side by side: each gate is drawn by itself.

    An orthogonal kernel ``[H, 4 H]`` would have orthogonal rows only; this one is orthogonal in each gate.

    Args:
      init: initialiser of the part ``[..., D / num_gates]`` of one gate.
      num_gates: number of parts that the last axis is divided into.
      constants: by number of a gate, a number that it is filled with instead, such as the bias of the forget
        gate.

    Returns:
      The initialiser; a shape whose last size ``num_gates`` does not divide is a ValueError.

    >>> gate_initializer(jax.nn.initializers.zeros, num_gates=2, constants={1: 1.0})(jax.random.key(0), (4,))
    Array([0., 0., 1., 1.], dtype=float32)
    """

    def draw(key: jax.Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> jax.Array:
        if shape[-1] % num_gates:
            raise ValueError(f"gate_initializer: expected {num_gates} gates side by side, got {list(shape)}")
        part = (*shape[:-1], shape[-1] // num_gates)
        keys = [key] if num_gates == 1 else jax.random.split(key, num_gates)
        drawn = [
            jnp.full(part, constants[gate], dtype) if gate in constants else init(each, part, dtype)
            for gate, each in enumerate(keys)
        ]
        return jnp.concatenate(drawn, -1)

    return draw


def uniform_of_width(features: int) -> Initializer:
    """Uniform in ±``1 / sqrt(features)``, whatever the shape: what PyTorch's recurrent layers start with.

    >>> bool(abs(uniform_of_width(4)(jax.random.key(0), (100,))).max() <= 0.5)
    True
    """
    bound = 1 / math.sqrt(features)

    def init(key: jax.Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init
