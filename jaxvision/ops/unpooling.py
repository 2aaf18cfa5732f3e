"""Max pooling that remembers where its maxima were, and the unpooling that puts them back."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxvision.core import check_floating, check_integer, check_same_shape
from jaxvision.ops.formulations import positions
from jaxvision.ops.pooling import read_sliding
from jaxvision.ops.windows import Padding, Size, Sizes, as_sizes, check_slid_over, window_rank


def max_pool_with_indices(
    x: jax.Array,
    window: Size,
    *,
    strides: Size | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """:func:`jaxvision.ops.max_pool` and the place of each maximum, as ``max_pool2d(return_indices=True)``.

    Args:
      x: images ``[N, H, W, C]``, sequences ``[N, T, C]`` or video ``[N, T, H, W, C]``, floating.
      window: size of the window, a number for images or one number an axis.
      strides: step of the window; by default the window's size.
      padding: border of minus infinity, less than the window's size on each side.
      ceil_mode: whether a last window that hangs over the end of the image counts.

    Returns:
      Maxima ``[N, H', W', C]`` in the dtype of ``x``, and int32 indices of the same shape: ``row * W +
      column`` in the image, without its border, of the first maximum of the window in row-major order. The
      gradient of the maxima goes there.

    Raises:
      ValueError: as :func:`jaxvision.ops.max_pool`, or if the image has 2^31 pixels or more.

    References:
      Badrinarayanan et al. 2017, *SegNet*, section 3; Zeiler and Fergus 2014, section 2.1 ("switches").

    >>> y, indices = max_pool_with_indices(jnp.array([[1.0, 5.0], [7.0, 2.0]])[None, :, :, None], 2)
    >>> y.ravel(), indices.ravel()
    (Array([7.], dtype=float32), Array([2], dtype=int32))
    """
    slide = read_sliding(x, window, strides, padding, ceil_mode=ceil_mode)
    size = x.shape[1:-1]
    if math.prod(size) > np.iinfo(np.int32).max:
        raise ValueError(f"x: {list(size)} has too many pixels for int32 indices; cut it into tiles")
    y = jnp.pad(x, ((0, 0), *slide.reach, (0, 0)), constant_values=-jnp.inf)
    places = np.pad(_places(size), slide.reach, constant_values=-1)
    index = jnp.broadcast_to(jnp.asarray(places)[None, ..., None], y.shape)
    axes = zip(slide.window, slide.strides, slide.output, strict=True)
    for axis, (length, stride, count) in reversed(list(enumerate(axes, start=1))):
        best, place = (positions(array, axis, 0, count, stride) for array in (y, index))
        for tap in range(1, length):
            rival, its_place = (positions(array, axis, tap, count, stride) for array in (y, index))
            wins = (rival > best) | (rival != rival)
            if (places < 0).any():  # a pixel of minus infinity wins against the border
                wins |= (place < 0) & (its_place >= 0)
            best, place = jnp.where(wins, rival, best), jnp.where(wins, its_place, place)
        y, index = best, place
    return y, index


def max_unpool(
    y: jax.Array, indices: jax.Array, output_size: Size, *, window: Size | None = None
) -> jax.Array:
    """Puts pooled values back where they came from, zeros elsewhere, as ``torch.nn.functional.max_unpool2d``.

    Args:
      y: values ``[N, H', W', C]`` (``[N, T', C]``, ``[N, T', H', W', C]``), floating.
      indices: integers of the same shape, as :func:`max_pool_with_indices` gives them for an image of
        ``output_size``. An index outside the image drops its value; its gradient is zero.
      output_size: ``(height, width)`` of the result, ``(time,)`` or ``(time, height, width)``, or a number
        for a square image.
      window: a promise that the values were pooled by windows of this size that neither overlap nor have a
        border. Then no scatter is needed, which is many times faster; an index outside its own window drops
        its value.

    Returns:
      ``[N, *output_size, C]`` in the dtype of ``y``. Where several values have one index, which overlapping
      windows give, one of them is written (after pooling they are equal). The gradient is a gather, so all
      of them get it, as in PyTorch; forward mode adds their tangents up, as the transpose of that.

    Raises:
      ValueError: if shapes or dtypes do not fit, or ``output_size`` is not one that the window pools to the
        size of ``y``.

    References:
      Zeiler and Fergus 2014, *Visualizing and Understanding Convolutional Networks*, section 2.1;
      Noh et al. 2015, *Learning Deconvolution Network for Semantic Segmentation*, section 3.2.1.

    >>> max_unpool(jnp.full((1, 1, 1, 1), 7.0), jnp.full((1, 1, 1, 1), 2), 2)[0, :, :, 0]
    Array([[0., 0.],
           [7., 0.]], dtype=float32)
    """
    rank = window_rank("output_size", output_size) if window is None else window_rank("window", window)
    check_slid_over("y", y, rank, cause=f"values for the output size {output_size} are")
    check_floating(y=y)
    check_integer(indices=indices)
    check_same_shape(y=y, indices=indices)
    size = as_sizes("output_size", output_size, rank=rank)
    if window is None:
        return _scatter(y, indices, size)
    return _select(y, indices, size, as_sizes("window", window, rank=rank))


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _scatter(y: jax.Array, indices: jax.Array, size: Sizes) -> jax.Array:
    """Unpooling by any indices."""
    target, where = _scatter_target(y, indices, size)
    return _as_image(target.at[where].set(_as_rows(y), mode="drop"), size)


@_scatter.defjvp
def _scatter_jvp(
    size: Sizes, primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """Adds tangents up where primals overwrite each other: the transpose of a sum is a plain gather."""
    y, indices = primals
    target, where = _scatter_target(y, indices, size)
    added = target.at[where].add(_as_rows(tangents[0]), mode="drop")
    return _scatter(y, indices, size), _as_image(added, size)


def _as_rows(y: jax.Array) -> jax.Array:
    return y.reshape(y.shape[0], math.prod(y.shape[1:-1]), y.shape[-1])


def _as_image(rows: jax.Array, size: Sizes) -> jax.Array:
    return rows.reshape(rows.shape[0], *size, rows.shape[-1])


def _scatter_target(
    y: jax.Array, indices: jax.Array, size: Sizes
) -> tuple[jax.Array, tuple[jax.Array, jax.Array, jax.Array]]:
    """Zeros ``[N, pixels, C]``, and the image, pixel and channel of each value."""
    batch, channels, pixels = y.shape[0], y.shape[-1], math.prod(size)
    flat = _as_rows(indices)
    flat = jnp.where(flat < 0, pixels, flat)  # not counted from the end: dropped
    image, channel = jnp.arange(batch)[:, None, None], jnp.arange(channels)[None, None, :]
    where = (jnp.broadcast_to(image, flat.shape), flat, jnp.broadcast_to(channel, flat.shape))
    return jnp.zeros((batch, pixels, channels), y.dtype), where


def _select(y: jax.Array, indices: jax.Array, size: Sizes, window: Sizes) -> jax.Array:
    """Unpooling of windows that tile the image: each pixel compares its place with its window's index."""
    counts = y.shape[1:-1]
    tiled = [count * length for count, length in zip(counts, window, strict=True)]
    if any(abs(whole - n) >= length for whole, n, length in zip(tiled, size, window, strict=True)):
        raise ValueError(
            f"output_size: expected a size that windows {list(window)} pool to {list(counts)}, such as "
            f"{tiled}, got {list(size)}"
        )
    # A last window may end before the image does, or hang over its end (ceil_mode).
    over = [whole - n for whole, n in zip(tiled, size, strict=True)]
    places = np.pad(_places(size), [(0, max(0, more)) for more in over], constant_values=-1)
    places = places[tuple(slice(whole) for whole in tiled)]
    split = [part for pair in zip(counts, window, strict=True) for part in pair]  # [H', kh, W', kw]
    inner = range(2, 2 * len(window) + 1, 2)
    mine = jnp.asarray(places.reshape(1, *split, 1)) == jnp.expand_dims(indices, inner)
    spread = jnp.where(mine, jnp.expand_dims(y, inner), jnp.zeros((), y.dtype))
    whole = spread.reshape(y.shape[0], *tiled, y.shape[-1])
    fit = [(0, -more, 0) for more in over]
    return lax.pad(whole, jnp.zeros((), y.dtype), [(0, 0, 0), *fit, (0, 0, 0)])


def _places(size: Sizes) -> np.ndarray:
    """Row-major place of each pixel in the image."""
    return np.arange(math.prod(size), dtype=np.int32).reshape(size)
