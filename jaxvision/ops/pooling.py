"""Pooling of images: maximum and average over windows, adaptive and global averages."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxvision.core import check_floating, check_layout
from jaxvision.ops.formulations import native_max_pool, select_max_pool
from jaxvision.ops.windows import Padding, Pair, Size, Sizes, as_padding, as_sizes


def max_pool(x: jax.Array, window: Size, *, strides: Size | None = None, padding: Padding = 0) -> jax.Array:
    """Maximum over sliding windows, as ``torch.nn.functional.max_pool2d``.

    The gradient goes to one element of each window: where several are equal, to the first one in
    row-major order, as in PyTorch.

    Args:
      x: images ``[N, H, W, C]``, floating.
      window: size of the window, a number or ``(height, width)``.
      strides: step of the window; by default the window's size, so that windows do not overlap.
      padding: border of minus infinity, less than the window's size on each side.

    Returns:
      ``[N, H', W', C]`` in the dtype of ``x``; rows and columns that fill no window are left out.

    Raises:
      ValueError: if ``x`` is not a batch of images, the window is larger than the padded image, or the
        padding is as large as the window.

    >>> max_pool(jnp.arange(16.0).reshape(1, 4, 4, 1), 2)[0, :, :, 0]
    Array([[ 5.,  7.],
           [13., 15.]], dtype=float32)
    """
    shape, step, pads = _check_pool(x, window, strides, padding)
    return lax.platform_dependent(
        x,
        cpu=functools.partial(select_max_pool, window=shape, strides=step, padding=pads),
        default=functools.partial(native_max_pool, window=shape, strides=step, padding=pads),
    )


def average_pool(
    x: jax.Array,
    window: Size,
    *,
    strides: Size | None = None,
    padding: Padding = 0,
    count_include_pad: bool = True,
) -> jax.Array:
    """Mean over sliding windows, as ``torch.nn.functional.avg_pool2d``.

    Args:
      x: images ``[N, H, W, C]``, floating.
      window: size of the window, a number or ``(height, width)``.
      strides: step of the window; by default the window's size.
      padding: border of zeros, less than the window's size on each side.
      count_include_pad: whether the zeros of the border count as elements of the mean (torch's default) or
        the sum is divided by the number of real pixels under the window.

    Returns:
      ``[N, H', W', C]`` in the dtype of ``x``; sums are in float32 at least.

    Raises:
      ValueError: as :func:`max_pool`.

    >>> average_pool(jnp.ones((1, 2, 2, 1)), 3, strides=1, padding=1, count_include_pad=False).ravel()
    Array([1., 1., 1., 1.], dtype=float32)
    """
    shape, step, pads = _check_pool(x, window, strides, padding)
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    sums = lax.reduce_window(
        wide,
        np.zeros((), wide.dtype),
        lax.add,
        (1, *shape, 1),
        (1, *step, 1),
        ((0, 0), *pads, (0, 0)),
    )
    if count_include_pad:
        return (sums / (shape[0] * shape[1])).astype(x.dtype)
    rows, columns = (
        _counts(*axis) for axis in zip(x.shape[1:3], shape, step, pads, sums.shape[1:3], strict=True)
    )
    counts = (rows[:, None] * columns[None, :])[None, :, :, None]  # [1, H', W', 1]
    return (sums / jnp.broadcast_to(jnp.asarray(counts, sums.dtype), sums.shape)).astype(x.dtype)


def adaptive_average_pool(x: jax.Array, output_size: Size) -> jax.Array:
    """Mean over a grid of regions of any image, as ``torch.nn.functional.adaptive_avg_pool2d``.

    Region ``i`` of ``m`` on an axis of ``n`` pixels is ``[floor(i n / m), ceil((i + 1) n / m))``, so
    regions overlap where ``m`` does not divide ``n``.

    Args:
      x: images ``[N, H, W, C]``, floating, with at least one pixel.
      output_size: size of the grid, a number or ``(height, width)``.

    Returns:
      ``[N, *output_size, C]`` in the dtype of ``x``; sums are in float32 at least.

    Raises:
      ValueError: if ``x`` is not a batch of images or is empty.

    >>> adaptive_average_pool(jnp.arange(9.0).reshape(1, 3, 3, 1), 1).ravel()
    Array([4.], dtype=float32)
    """
    check_layout("x", x, "N H W C", remedy="images are [N, H, W, C]")
    check_floating(x=x)
    height, width = as_sizes("output_size", output_size)
    if min(x.shape[1:3]) < 1:
        raise ValueError(f"x: expected at least one pixel, got {list(x.shape)}")
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    wide = _average_regions(wide, 1, height)  # [N, H', W, C]
    return _average_regions(wide, 2, width).astype(x.dtype)  # [N, H', W', C]


def global_average_pool(x: jax.Array) -> jax.Array:
    """Mean over all pixels (Lin et al. 2014, *Network in Network*, section 3.2).

    Args:
      x: images ``[N, H, W, C]``, floating.

    Returns:
      ``[N, C]`` in the dtype of ``x``; sums are in float32 at least.

    Raises:
      ValueError: if ``x`` is not a batch of images.

    >>> global_average_pool(jnp.arange(8.0).reshape(1, 2, 2, 2))
    Array([[3., 4.]], dtype=float32)
    """
    check_layout("x", x, "N H W C", remedy="images are [N, H, W, C]")
    check_floating(x=x)
    return x.mean((1, 2), dtype=jnp.promote_types(x.dtype, jnp.float32)).astype(x.dtype)


def _check_pool(
    x: jax.Array, window: Size, strides: Size | None, padding: Padding
) -> tuple[Sizes, Sizes, tuple[Pair, ...]]:
    """Reads the arguments of a pooling op as window, strides and padding of each axis."""
    check_layout("x", x, "N H W C", remedy="images are [N, H, W, C]")
    check_floating(x=x)
    shape, pads = as_sizes("window", window), as_padding(padding)
    step = shape if strides is None else as_sizes("strides", strides)
    for size, length, (lo, hi) in zip(x.shape[1:3], shape, pads, strict=True):
        if max(lo, hi) >= length:
            raise ValueError(
                f"padding: expected less than the window {list(shape)} on each side, got {pads}; a window "
                "would lie wholly on the border"
            )
        if size + lo + hi < length:
            raise ValueError(
                f"window: {list(shape)} is larger than the padded image "
                f"{[n + sum(pad) for n, pad in zip(x.shape[1:3], pads, strict=True)]}; use larger images, "
                "more padding or a smaller window"
            )
    return shape, step, pads


def _counts(size: int, window: int, stride: int, padding: Pair, output: int) -> np.ndarray:
    """Number of real pixels under each position of the window along one axis, ``[output]``."""
    start = np.arange(output) * stride - padding[0]
    return np.minimum(start + window, size) - np.maximum(start, 0)


def _average_regions(x: jax.Array, axis: int, count: int) -> jax.Array:
    """Means of ``count`` regions along one axis."""
    size = x.shape[axis]
    if size % count == 0:
        shape = (*x.shape[:axis], count, size // count, *x.shape[axis + 1 :])
        return x.reshape(shape).mean(axis + 1)
    starts = np.arange(count) * size // count
    stops = -(-(np.arange(1, count + 1) * size) // count)
    pixel = np.arange(size)[None, :]
    inside = (pixel >= starts[:, None]) & (pixel < stops[:, None])  # [count, size]
    weights = jnp.asarray(inside / (stops - starts)[:, None], x.dtype)
    return jnp.moveaxis(jnp.tensordot(weights, x, axes=(1, axis), precision=lax.Precision.HIGHEST), 0, axis)
