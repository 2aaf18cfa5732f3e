"""Pooling over a fixed number of regions of an image of any size: adaptive, global and pyramid pooling."""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxvision.core import check_floating
from jaxvision.ops.windows import LAYOUTS, Size, as_sizes, check_slid_over, window_rank


def adaptive_average_pool(x: jax.Array, output_size: Size) -> jax.Array:
    """Mean over a grid of regions of any image, as ``torch.nn.functional.adaptive_avg_pool2d`` (1d, 3d).

    Region ``i`` of ``m`` on an axis of ``n`` pixels is ``[floor(i n / m), ceil((i + 1) n / m))``, so
    regions overlap where ``m`` does not divide ``n``.

    Args:
      x: images ``[N, H, W, C]``, sequences ``[N, T, C]`` or video ``[N, T, H, W, C]``, floating, with at
        least one pixel.
      output_size: size of the grid, a number for images or one number an axis: ``(4,)`` for sequences.

    Returns:
      ``[N, *output_size, C]`` in the dtype of ``x``; sums are in float32 at least.

    Raises:
      ValueError: if ``x`` has another rank than ``output_size`` asks for, or is empty.

    >>> adaptive_average_pool(jnp.arange(9.0).reshape(1, 3, 3, 1), 1).ravel()
    Array([4.], dtype=float32)
    """
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return _over_axes(wide, output_size, _average_regions).astype(x.dtype)


def adaptive_max_pool(x: jax.Array, output_size: Size) -> jax.Array:
    """Maximum over a grid of regions of any image, as ``torch.nn.functional.adaptive_max_pool2d`` (1d, 3d).

    The regions are those of :func:`adaptive_average_pool`. The gradient goes to the first maximum of a
    region in row-major order.

    Args:
      x: images ``[N, H, W, C]``, sequences ``[N, T, C]`` or video ``[N, T, H, W, C]``, floating, with at
        least one pixel.
      output_size: size of the grid, a number for images or one number an axis.

    Returns:
      ``[N, *output_size, C]`` in the dtype of ``x``.

    Raises:
      ValueError: as :func:`adaptive_average_pool`.

    >>> adaptive_max_pool(jnp.arange(9.0).reshape(1, 3, 3, 1), 2)[0, :, :, 0]
    Array([[4., 5.],
           [7., 8.]], dtype=float32)
    """
    return _over_axes(x, output_size, _max_regions)


def global_average_pool(x: jax.Array) -> jax.Array:
    """Mean over all pixels (Lin et al. 2014, *Network in Network*, section 3.2).

    Args:
      x: images ``[N, H, W, C]``, sequences ``[N, T, C]`` or video ``[N, T, H, W, C]``, floating.

    Returns:
      ``[N, C]`` in the dtype of ``x``; sums are in float32 at least.

    Raises:
      ValueError: if ``x`` has no batch axis or more axes than video.

    >>> global_average_pool(jnp.arange(8.0).reshape(1, 2, 2, 2))
    Array([[3., 4.]], dtype=float32)
    """
    _check_any_rank(x)
    axes = tuple(range(1, x.ndim - 1))
    return x.mean(axes, dtype=jnp.promote_types(x.dtype, jnp.float32)).astype(x.dtype)


def global_max_pool(x: jax.Array) -> jax.Array:
    """Maximum over all pixels; the gradient goes to the first maximum in row-major order.

    Args:
      x: images ``[N, H, W, C]``, sequences ``[N, T, C]`` or video ``[N, T, H, W, C]``, floating, with at
        least one pixel.

    Returns:
      ``[N, C]`` in the dtype of ``x``.

    Raises:
      ValueError: if ``x`` has no batch axis, more axes than video, or no pixel.

    References:
      Oquab et al. 2015, *Is object localization for free?*, section 3.2.

    >>> global_max_pool(jnp.array([[1.0, 6.0], [5.0, 2.0]])[None])
    Array([[5., 6.]], dtype=float32)
    """
    _check_any_rank(x)
    _check_pixels(x)
    return _first_maximum(x.reshape(x.shape[0], math.prod(x.shape[1:-1]), x.shape[-1]), 1)


def spatial_pyramid_pool(x: jax.Array, *, levels: Sequence[int] = (1, 2, 4), mode: str = "max") -> jax.Array:
    """Spatial pyramid pooling: one vector of fixed length from an image of any size.

    Each level ``l`` pools the image over an ``l`` by ``l`` grid of regions; the cells of all levels are laid
    out one after the other.

    Args:
      x: images ``[N, H, W, C]``, floating, with at least one pixel.
      levels: sizes of the grids.
      mode: ``"max"``, as in the paper, or ``"average"``.

    Returns:
      ``[N, sum(l * l for l in levels) * C]`` in the dtype of ``x``, ordered by level, then row of the grid,
      then column, then channel.

    Raises:
      ValueError: if ``x`` is not a batch of images or is empty, there is no level, or the mode is unknown.

    References:
      He et al. 2014, *Spatial Pyramid Pooling in Deep Convolutional Networks for Visual Recognition*,
      section 2.2. Its windows for an image of ``a`` pixels are ``ceil(a / l)`` long, ``floor(a / l)`` apart
      (section 2.3); here they are the regions of :func:`adaptive_average_pool`, which are the same where
      ``l`` divides ``a``, cover the image where it does not, and exist for images smaller than the grid.

    >>> spatial_pyramid_pool(jnp.arange(16.0).reshape(1, 4, 4, 1), levels=(1, 2))
    Array([[15.,  5.,  7., 13., 15.]], dtype=float32)
    """
    pools = {"max": adaptive_max_pool, "average": adaptive_average_pool}
    if mode not in pools:
        raise ValueError(f"mode: expected one of {sorted(pools)}, got {mode!r}")
    if not levels:
        raise ValueError("levels: expected at least one grid size, got none")
    cells = [pools[mode](x, as_sizes("levels", level)) for level in levels]  # [N, l, l, C]
    return jnp.concatenate([cell.reshape(x.shape[0], math.prod(cell.shape[1:])) for cell in cells], -1)


def _over_axes(
    x: jax.Array, output_size: Size, pool: Callable[[jax.Array, int, int], jax.Array]
) -> jax.Array:
    """Pools one axis after the other, the last one first."""
    rank = window_rank("output_size", output_size)
    check_slid_over("x", x, rank, cause=f"the output size {output_size} is one of")
    check_floating(x=x)
    counts = as_sizes("output_size", output_size, rank=rank)
    _check_pixels(x)
    for axis in range(rank, 0, -1):
        x = pool(x, axis, counts[axis - 1])
    return x


def _check_any_rank(x: jax.Array) -> None:
    if x.ndim - 2 not in LAYOUTS:
        raise ValueError(
            f"x: expected [N, H, W, C], [N, T, C] or [N, T, H, W, C], got {list(x.shape)}; add a batch axis"
        )
    check_floating(x=x)


def _check_pixels(x: jax.Array) -> None:
    if min(x.shape[1:-1]) < 1:
        raise ValueError(f"x: expected at least one pixel, got {list(x.shape)}")


def _regions(size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """First pixel of each region of an axis, and the one after its last, ``[count]`` each."""
    index = np.arange(count)
    return index * size // count, -(-((index + 1) * size) // count)


def _average_regions(x: jax.Array, axis: int, count: int) -> jax.Array:
    """Means of ``count`` regions along one axis."""
    size = x.shape[axis]
    if size % count == 0:
        shape = (*x.shape[:axis], count, size // count, *x.shape[axis + 1 :])
        return x.reshape(shape).mean(axis + 1)
    starts, stops = _regions(size, count)
    pixel = np.arange(size)[None, :]
    inside = (pixel >= starts[:, None]) & (pixel < stops[:, None])  # [count, size]
    weights = jnp.asarray(inside / (stops - starts)[:, None], x.dtype)
    return jnp.moveaxis(jnp.tensordot(weights, x, axes=(1, axis), precision=lax.Precision.HIGHEST), 0, axis)


def _max_regions(x: jax.Array, axis: int, count: int) -> jax.Array:
    """Maxima of ``count`` regions along one axis."""
    size = x.shape[axis]
    length = size // count
    if size % count:
        # Regions of one length: a shorter one repeats its last pixel, which wins no tie against itself.
        starts, stops = _regions(size, count)
        length = int((stops - starts).max())
        pixels = np.minimum(starts[:, None] + np.arange(length), stops[:, None] - 1)  # [count, length]
        x = jnp.take(x, pixels.ravel(), axis)
    return _first_maximum(x.reshape(*x.shape[:axis], count, length, *x.shape[axis + 1 :]), axis + 1)


def _first_maximum(x: jax.Array, axis: int) -> jax.Array:
    """Maximum along an axis whose gradient goes to the first of equal elements; the first nan wins.

    Picked out by a comparison of positions, which is vectorised on a CPU; argmax and gathers are not. The
    derivative of ``jnp.max`` divides by the number of elements equal to the maximum. Where XLA computes them
    twice and rounds a product and a sum once in one place and twice in the other (as it does with most
    optimisations disabled) none is equal, and the derivative is nan; here there is nothing to divide by.
    """
    fixed = lax.stop_gradient(x)
    best = fixed.max(axis, keepdims=True)
    place = lax.broadcasted_iota(jnp.int32, x.shape, axis)
    first = jnp.where((fixed == best) | (fixed != fixed), place, x.shape[axis]).min(axis, keepdims=True)
    return jnp.where(place == first, x, jnp.zeros((), x.dtype)).sum(axis)
