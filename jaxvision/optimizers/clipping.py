"""Gradient clipping that Optax lacks in the form that our kernels need."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxvision.core import map_paths
from jaxvision.optimizers.groups import path_matches


def adaptive_clip(
    clipping: float, *, epsilon: float = 1e-3, exclude: Sequence[str] = ()
) -> optax.GradientTransformation:
    """Bounds the gradient of each unit by a share of the unit's own norm: adaptive gradient clipping.

    .. math:: G_i \\leftarrow G_i \\min(1, \\lambda \\max(\\|W_i\\|, \\epsilon) / \\|G_i\\|)

    A unit is what makes one output channel: all of a leaf but its last axis (``[kh, kw, Cin, Cout]``,
    ``[Cin, Cout]``); a bias, a scale or a scalar is one unit as a whole.

    Args:
      clipping: ``lambda``, the largest norm of a unit's gradient as a share of the unit's norm: 0.01 in the
        paper, for batches of 4096 images; smaller batches take larger ones (its section 4.1).
      epsilon: least norm of a unit that counts, so that one of zeros can leave them.
      exclude: path patterns of leaves to leave alone, see ``check_patterns``. The paper does not clip the
        last linear layer: ``["head"]``.

    Returns:
      The transformation; ``update`` needs ``params``.

    Raises:
      ValueError: if ``clipping`` or ``epsilon`` is not positive, or ``update`` gets no ``params``.

    References:
      Brock et al. 2021, *High-Performance Large-Scale Image Recognition Without Normalization*, section 4,
      equation 3, and section 4.1. Equal to timm's ``adaptive_clip_grad`` on a torch weight, whose first axis
      is our last. ``optax.adaptive_grad_clip`` goes by the number of axes: it takes kernels of three, of
      sequences, for attention's and norms each tap apart, and a ``[1, 1, 1, C]`` depthwise kernel for a
      vector.

    >>> transform = adaptive_clip(0.1)
    >>> kernel = jnp.array([[3.0, 0.0], [4.0, 0.0]])  # its columns, the units, have norms 5 and 0
    >>> clipped, _ = transform.update(jnp.ones((2, 2)), transform.init(kernel), kernel)
    >>> [round(float(norm), 6) for norm in jnp.linalg.norm(clipped, axis=0)]
    [0.5, 0.0001]
    """
    for name, value in (("clipping", clipping), ("epsilon", epsilon)):
        if value <= 0:
            raise ValueError(f"{name}: expected a number > 0, got {value}")
    excluded = tuple(exclude)

    def clip(path: str, update: jax.Array, param: jax.Array) -> jax.Array:
        if any(path_matches(pattern, path) for pattern in excluded):
            return update
        norm, limit = _unit_norms(update), clipping * jnp.maximum(_unit_norms(param), epsilon)
        # The floor keeps a gradient of zeros, never over the limit, from being divided by its norm.
        factor = jnp.where(norm < limit, 1.0, limit / jnp.maximum(norm, 1e-6))
        return (update * jnp.broadcast_to(factor, update.shape)).astype(update.dtype)

    def update(updates: Any, state: optax.EmptyState, params: Any = None) -> tuple[Any, optax.EmptyState]:
        if params is None:
            raise ValueError("adaptive_clip compares gradients with params; pass them to update")
        return map_paths(clip, updates, params), state

    return optax.GradientTransformation(optax.init_empty_state, update)


def _unit_norms(x: jax.Array) -> jax.Array:
    """Euclidean norm of each unit, float32, with axes of 1: ``[..., C] -> [1, ..., C]``."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    axes = tuple(range(x.ndim - 1)) if x.ndim > 1 else None
    return jnp.sqrt(jnp.sum(jnp.square(wide), axis=axes, keepdims=True))
