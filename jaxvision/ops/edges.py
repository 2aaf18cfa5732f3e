"""Edges of label maps."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jaxvision.core import check_integer, check_layout


def label_edges(labels: jax.Array, *, width: int, border: bool) -> jax.Array:
    r"""Marks the pixels that have another label within a square of ``2 * width + 1`` pixels around them.

    Of each region these are the outermost ``width`` pixels: what ``width`` erosions by a square of 3 x 3 take
    away. Both sides of a border between two labels are marked.

    Args:
      labels: integer [..., H, W].
      width: pixels, >= 0; 0 marks nothing.
      border: whether what lies beyond the image is another label.

    Returns:
      bool [..., H, W].

    Raises:
      ValueError: if ``labels`` is no integer [..., H, W], or ``width`` is negative.

    >>> label_edges(jnp.array([[0, 0, 0, 1, 1]]), width=1, border=False).astype(int)
    Array([[0, 0, 1, 1, 0]], dtype=int32)
    """
    check_integer(labels=labels)
    check_layout("labels", labels, "... H W")
    if width < 0:
        raise ValueError(f"width: expected a number >= 0, got {width}")
    if labels.size == 0 or width == 0:
        return jnp.zeros(labels.shape, bool)
    classes = labels.astype(jnp.int32)
    beyond = jnp.iinfo(jnp.int32).min if border else None
    # A window holds one label alone if its least and its greatest are equal: a few passes for all classes.
    least = greatest = classes
    for axis in (labels.ndim - 1, labels.ndim - 2):
        least = _over_windows(jnp.minimum, least, width, axis, beyond)
        greatest = _over_windows(jnp.maximum, greatest, width, axis, None)
    return least != greatest


def _over_windows(
    choose: Callable[[jax.Array, jax.Array], jax.Array],
    x: jax.Array,
    width: int,
    axis: int,
    beyond: int | None,
) -> jax.Array:
    """Chooses from windows of ``2 * width + 1`` along an axis, whose length doubles from pass to pass."""
    margins = [(width, width) if other == axis else (0, 0) for other in range(x.ndim)]
    # An end repeated changes nothing: it is in every window that hangs over it.
    x = jnp.pad(x, margins, mode="edge") if beyond is None else jnp.pad(x, margins, constant_values=beyond)
    size, reach = 2 * width + 1, 1
    while reach < size:
        step = min(reach, size - reach)
        ahead = lax.slice_in_dim(x, step, x.shape[axis], axis=axis)
        x = choose(lax.slice_in_dim(x, 0, x.shape[axis] - step, axis=axis), ahead)
        reach += step
    return x
