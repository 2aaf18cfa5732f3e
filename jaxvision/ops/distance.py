"""Exact Euclidean distances of pixels to masks, under ``jit`` and of static shape."""

import jax
import jax.numpy as jnp
from jax import lax

from jaxvision.core import check_integer, check_layout

_FAR = 1 << 30  # a square that no image reaches: twice the square of the largest side is less
_LARGEST_SIDE = 23_169


def distance_transform(mask: jax.Array) -> jax.Array:
    r"""Distance of every pixel to the nearest pixel of a mask, 0 inside it.

    .. math:: d(y, x) = \min_{(y', x') \in M} \sqrt{(y - y')^2 + (x - x')^2}

    Exact: the squares are integers. One pass along rows, then for each row the least over all rows, so the
    time grows with H^2 W, and the memory is that of a few masks.

    Args:
      mask: bool [..., H, W], M.

    Returns:
      float32 [..., H, W] in pixels; infinite where the mask is empty. It has no gradient.

    Raises:
      ValueError: if ``mask`` is no boolean [..., H, W], or a side has more than 23,169 pixels.

    References:
      Saito and Toriwaki 1994, "New algorithms for Euclidean distance transformation" (one axis after the
      other). Equal to ``scipy.ndimage.distance_transform_edt(~mask)``.

    >>> distance_transform(jnp.array([[True, False, False], [False, False, False]])).round(3)
    Array([[0.   , 1.   , 2.   ],
           [1.   , 1.414, 2.236]], dtype=float32)
    """
    if mask.dtype != jnp.bool_:
        raise ValueError(f"mask: expected a boolean mask, got {mask.dtype}; compare it with 0 first")
    check_layout("mask", mask, "... H W")
    height, width = mask.shape[-2:]
    if max(height, width) > _LARGEST_SIDE:
        raise ValueError(f"mask: got {height} x {width} pixels, expected at most {_LARGEST_SIDE} a side")
    if mask.size == 0:
        return jnp.zeros(mask.shape)
    squares = _squares_along_rows(mask)  # [..., H, W]
    rows = jnp.arange(height, dtype=jnp.int32)

    def nearest(row: jax.Array) -> jax.Array:
        offsets = lax.expand_dims(jnp.square(rows - row), (*range(mask.ndim - 2), mask.ndim - 1))
        return jnp.min(squares + offsets, axis=-2)  # [..., W]

    found = jnp.moveaxis(lax.map(nearest, rows), 0, -2)  # [..., H, W]
    return jnp.where(found >= _FAR, jnp.inf, jnp.sqrt(found.astype(jnp.float32)))


def signed_class_distances(
    labels: jax.Array, num_classes: int, *, ignore_index: int | None = None
) -> jax.Array:
    r"""Signed distance of every pixel to the boundary of every class: negative inside, positive outside.

    Outside of class k it is the distance to its nearest pixel; inside, 1 less the distance to the nearest
    pixel of another class. So it is 0 on a class's outermost pixels and 1 next to them.

    Args:
      labels: integer [..., H, W].
      num_classes: K, static.
      ignore_index: label of pixels that belong to no class: a distance is never taken to them.

    Returns:
      float32 [..., H, W, K] in pixels; 0 for a class that an image lacks, and inside one that has no other
      beside it: there is no boundary.

    Raises:
      ValueError: if ``labels`` is no integer [..., H, W], or a side has more than 23,169 pixels.

    References:
      Kervadec et al. 2019, "Boundary loss for highly unbalanced segmentation", section 2, and the distance
      maps of the authors' code. They know no void: that it draws no boundary is ours.

    >>> signed_class_distances(jnp.array([[0, 0, 1]]), 2)[..., 0]
    Array([[-1.,  0.,  1.]], dtype=float32)
    """
    check_integer(labels=labels)
    check_layout("labels", labels, "... H W")
    if num_classes < 1:
        raise ValueError(f"num_classes: expected at least 1, got {num_classes}")
    classes = jnp.arange(num_classes, dtype=jnp.int32)
    hit = labels.astype(jnp.int32)[..., None, :, :] == lax.expand_dims(
        classes, (*range(labels.ndim - 2), labels.ndim - 1, labels.ndim)
    )  # [..., K, H, W]
    if ignore_index is not None:
        hit = hit & (labels != ignore_index)[..., None, :, :]
    outside = distance_transform(hit)
    # Inside, the nearest pixel of another class is the nearest over the other classes.
    to_other = jnp.min(jnp.where(hit, jnp.inf, outside), axis=-3, keepdims=True)
    distances = jnp.where(hit, 1.0 - to_other, outside)
    return jnp.moveaxis(jnp.where(jnp.isfinite(distances), distances, 0.0), -3, -1)


def _squares_along_rows(mask: jax.Array) -> jax.Array:
    """Squared distance to the nearest pixel of the mask in the same row, int32; ``_FAR`` without one."""
    axis = mask.ndim - 1
    place = lax.broadcasted_iota(jnp.int32, mask.shape, axis)
    left = lax.cummax(jnp.where(mask, place, -_LARGEST_SIDE - 1), axis=axis)
    right = lax.cummin(jnp.where(mask, place, 2 * _LARGEST_SIDE + 1), axis=axis, reverse=True)
    steps = jnp.minimum(place - left, right - place)
    return jnp.where(steps > _LARGEST_SIDE, _FAR, jnp.square(jnp.minimum(steps, _LARGEST_SIDE)))
