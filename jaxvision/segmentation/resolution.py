"""Images of any size for networks that halve it several times, and the doubling that undoes a halving."""

import jax
import jax.numpy as jnp

from jaxvision.core import check_floating, check_layout
from jaxvision.ops import max_unpool


def pad_images(images: jax.Array, multiple: int, *, least: int = 1) -> jax.Array:
    """Checks a batch of images and adds zeros at the bottom and right, so that every halving is exact.

    Args:
      images: ``[N, H, W, C]``, floating, of at least one pixel.
      multiple: what height and width shall be multiples of.
      least: what height and width shall be at least, a multiple of ``multiple``.

    Returns:
      ``[N, H', W', C]``.

    Raises:
      ValueError: for another shape or dtype, or an empty image.

    >>> pad_images(jnp.ones((1, 45, 64, 3)), 32).shape
    (1, 64, 64, 3)
    """
    check_image_batch(images)
    added = [max(size + -size % multiple, least) - size for size in images.shape[1:3]]
    return jnp.pad(images, ((0, 0), (0, added[0]), (0, added[1]), (0, 0)))  # [N, H', W', C]


def check_image_batch(images: jax.Array) -> None:
    """Checks that images are a floating batch, channels last, with at least one pixel each.

    Raises:
      ValueError: if they are not.
    """
    check_layout("images", images, "N H W C", remedy="images are a batch, channels last")
    check_floating(images=images)
    if 0 in images.shape[1:3]:
        raise ValueError(f"images: expected at least one pixel, got {list(images.shape)}")


def unpool_pairs(x: jax.Array, indices: jax.Array) -> jax.Array:
    """Puts values back to the places that 2x2 windows took them from, zeros elsewhere.

    Args:
      x: ``[N, H, W, C]``, floating.
      indices: of the maxima in a map of twice that size, as
        :func:`jaxvision.ops.max_pool_with_indices` gives them.

    Returns:
      ``[N, 2 H, 2 W, C]`` in the dtype of ``x``.

    >>> unpool_pairs(jnp.full((1, 1, 1, 1), 7.0), jnp.full((1, 1, 1, 1), 2))[0, :, :, 0]
    Array([[0., 0.],
           [7., 0.]], dtype=float32)
    """
    return max_unpool(x, indices, (2 * x.shape[1], 2 * x.shape[2]), window=2)
