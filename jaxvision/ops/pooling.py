"""Pooling over sliding windows (maximum, mean, power mean) and over channels.

A window that is a number slides over images ``[N, H, W, C]``; a tuple says over how many axes: ``(3,)`` over
sequences ``[N, T, C]``, ``(2, 2, 2)`` over video ``[N, T, H, W, C]``. Pooling over a fixed number of regions
is in :mod:`jaxvision.ops.adaptive`.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxvision.core import check_floating, check_layout
from jaxvision.ops.formulations import chain_of_maxima, native_max_pool, positions, select_max_pool
from jaxvision.ops.windows import (
    Padding,
    Pair,
    Size,
    Sizes,
    as_padding,
    as_sizes,
    check_slid_over,
    window_output_size,
    window_rank,
)


class Sliding(NamedTuple):
    """How a window slides, one entry an axis."""

    window: Sizes
    strides: Sizes
    padding: tuple[Pair, ...]
    """Border that was asked for."""
    dilation: Sizes
    reach: tuple[Pair, ...]
    """Border that the windows need: with ``ceil_mode`` the last one may hang over the end of the image."""
    output: Sizes


def max_pool(
    x: jax.Array,
    window: Size,
    *,
    strides: Size | None = None,
    padding: Padding = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> jax.Array:
    """Maximum over sliding windows, as ``torch.nn.functional.max_pool1d``, ``max_pool2d``, ``max_pool3d``.

    The gradient goes to one element of each window: where several are equal, to the first one in
    row-major order, as in PyTorch.

    Args:
      x: images ``[N, H, W, C]``, sequences ``[N, T, C]`` or video ``[N, T, H, W, C]``, floating.
      window: size of the window, a number for images or one number an axis.
      strides: step of the window; by default the window's size, so that windows do not overlap.
      padding: border of minus infinity, less than the window's size on each side.
      dilation: distance of neighbouring elements of a window.
      ceil_mode: whether a last window that hangs over the end of the image counts, by less than a step. As
        in PyTorch it must start inside the image or the border before it.

    Returns:
      ``[N, H', W', C]`` in the dtype of ``x``; without ``ceil_mode`` rows and columns that fill no window
      are left out.

    Raises:
      ValueError: if ``x`` has another rank than the window asks for, the window is larger than the padded
        image, or the padding is as large as the window.

    >>> max_pool(jnp.arange(16.0).reshape(1, 4, 4, 1), 2)[0, :, :, 0]
    Array([[ 5.,  7.],
           [13., 15.]], dtype=float32)
    """
    slide = read_sliding(x, window, strides, padding, dilation=dilation, ceil_mode=ceil_mode)
    shape, step, pads = slide.window, slide.strides, slide.reach
    if max(slide.dilation) > 1:  # XLA's own has no gradient for dilated windows
        return select_max_pool(x, shape, step, pads, dilation=slide.dilation)
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
    ceil_mode: bool = False,
) -> jax.Array:
    """Mean over sliding windows, as ``torch.nn.functional.avg_pool1d``, ``avg_pool2d``, ``avg_pool3d``.

    Args:
      x: images ``[N, H, W, C]``, sequences ``[N, T, C]`` or video ``[N, T, H, W, C]``, floating.
      window: size of the window, a number for images or one number an axis.
      strides: step of the window; by default the window's size.
      padding: border of zeros, less than the window's size on each side.
      count_include_pad: whether the zeros of the border count as elements of the mean (torch's default) or
        the sum is divided by the number of real pixels under the window.
      ceil_mode: whether a last window that hangs over the end of the image counts, as in
        :func:`max_pool`. What lies beyond the border never counts as an element.

    Returns:
      ``[N, H', W', C]`` in the dtype of ``x``; sums are in float32 at least.

    Raises:
      ValueError: as :func:`max_pool`.

    >>> average_pool(jnp.ones((1, 2, 2, 1)), 3, strides=1, padding=1, count_include_pad=False).ravel()
    Array([1., 1., 1., 1.], dtype=float32)
    """
    slide = read_sliding(x, window, strides, padding, ceil_mode=ceil_mode)
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    sums = lax.platform_dependent(
        wide,
        cpu=functools.partial(_slice_sums, slide=slide),
        default=functools.partial(_native_sums, slide=slide),
    )
    if count_include_pad and slide.reach == slide.padding:
        return (sums / math.prod(slide.window)).astype(x.dtype)
    counts = np.ones((1, *sums.shape[1:-1], 1))
    for axis, (size, length, stride, border, output) in enumerate(
        zip(x.shape[1:-1], slide.window, slide.strides, slide.padding, slide.output, strict=True), start=1
    ):
        along = _counts(size, length, stride, border, output, count_include_pad)
        counts *= np.expand_dims(along, [other for other in range(sums.ndim) if other != axis])
    return (sums / jnp.broadcast_to(jnp.asarray(counts, sums.dtype), sums.shape)).astype(x.dtype)


def lp_pool(
    x: jax.Array, window: Size, *, p: float = 2.0, strides: Size | None = None, ceil_mode: bool = False
) -> jax.Array:
    r"""Power mean pooling, the p-th root of the window's sum of powers, as ``torch.nn.functional.lp_pool2d``.

    .. math:: y = \Big(\sum_{x \in \text{window}} x^p\Big)^{1/p}

    With ``p=2`` it is L2 pooling, with ``p=1`` sum pooling. As in PyTorch powers keep their sign, so for an
    odd ``p`` this is no norm, and the gradient is zero where the sum is zero (there the root has none).

    Args:
      x: images ``[N, H, W, C]``, sequences ``[N, T, C]`` or video ``[N, T, H, W, C]``, floating.
      window: size of the window, a number for images or one number an axis.
      p: the power, positive. One that is not a whole number wants ``x >= 0``; elsewhere the result is nan.
      strides: step of the window; by default the window's size.
      ceil_mode: whether a last window that hangs over the end counts. As in PyTorch its sum is scaled up to
        that of a whole window.

    Returns:
      ``[N, H', W', C]`` in the dtype of ``x``; sums are in float32 at least.

    Raises:
      ValueError: as :func:`max_pool`, or if ``p`` is not positive (for infinity use ``max_pool(abs(x))``).

    References:
      Sermanet, Chintala and LeCun 2012, *Convolutional neural networks applied to house numbers digit
      classification*, section 2.2 (without its Gaussian weights). One deviation from PyTorch: where the sum
      of odd powers is negative the root is the negative one, ``-(-s)^(1/p)``; PyTorch's is nan.

    >>> lp_pool(jnp.array([3.0, -4.0]).reshape(1, 2, 1), (2,)).ravel()
    Array([5.], dtype=float32)
    """
    if not 0 < p < math.inf:
        raise ValueError(f"p: expected a positive, finite number, got {p}; for infinity use max_pool(abs(x))")
    check_floating(x=x)
    power = int(p) if p == int(p) else p
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    means = average_pool(wide**power, window, strides=strides, ceil_mode=ceil_mode)
    sums = means * math.prod(as_sizes("window", window, rank=x.ndim - 2))
    zero = sums == 0
    size = jnp.where(zero, 1, jnp.abs(sums))  # the root of zero would have an infinite gradient
    # A fractional power of a negative x is nan already, so a negative sum has odd powers.
    return jnp.where(zero, 0, jnp.sign(sums) * size ** (1 / p)).astype(x.dtype)


def channel_max_pool(x: jax.Array, size: int) -> jax.Array:
    """Maximum over groups of ``size`` consecutive channels: the maxout unit, cross-channel pooling.

    Args:
      x: ``[..., C]``, floating; ``size`` divides ``C``.
      size: number of channels that make one.

    Returns:
      ``[..., C / size]`` in the dtype of ``x``: channel ``i`` is the maximum of channels ``i size`` up to
      ``(i + 1) size - 1``. The gradient goes to the first maximum of a group.

    Raises:
      ValueError: if ``size`` does not divide the number of channels.

    References:
      Goodfellow et al. 2013, *Maxout Networks*, section 2.

    >>> channel_max_pool(jnp.array([1.0, 5.0, 2.0, 4.0, 3.0, 0.0]), 3)
    Array([5., 4.], dtype=float32)
    """
    check_layout("x", x, "... C", remedy="channels are the last axis")
    check_floating(x=x)
    (size,) = as_sizes("size", (size,), rank=1)
    if x.shape[-1] % size:
        raise ValueError(f"size: expected a divisor of the {x.shape[-1]} channels, got {size}")
    count = x.shape[-1] // size
    if size <= 2:
        return chain_of_maxima(x, x.ndim - 1, size, size, 1, count)
    # By its index: selections in turn are slow to differentiate where there are many. The derivative of
    # jnp.max divides by the number of elements that it finds equal to the maximum, and was nan after a
    # product and a sum compiled without XLA's optimisations.
    grouped = x.reshape(*x.shape[:-1], count, size)
    largest = jnp.expand_dims(grouped.argmax(-1), -1)
    return jnp.take_along_axis(grouped, largest, -1).squeeze(-1)


def read_sliding(
    x: jax.Array,
    window: Size,
    strides: Size | None,
    padding: Padding,
    *,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> Sliding:
    """Reads the arguments of a pooling op.

    Raises:
      ValueError: as :func:`max_pool`.
    """
    rank = window_rank("window", window)
    check_slid_over("x", x, rank, cause=f"the window {window} slides over")
    check_floating(x=x)
    shape, pads = as_sizes("window", window, rank=rank), as_padding(padding, rank=rank)
    step = shape if strides is None else as_sizes("strides", strides, rank=rank)
    spread = as_sizes("dilation", dilation, rank=rank)
    whole = [d * (k - 1) + 1 for k, d in zip(shape, spread, strict=True)]
    padded = [n + sum(pad) for n, pad in zip(x.shape[1:-1], pads, strict=True)]
    if any(max(pad) >= length for pad, length in zip(pads, whole, strict=True)):
        raise ValueError(
            f"padding: expected less than the window {whole} on each side, got {pads}; a window would lie "
            "wholly on the border"
        )
    output, reach = [], []
    for size, length, stride, (lo, hi) in zip(x.shape[1:-1], whole, step, pads, strict=True):
        count = window_output_size(size, length, stride, (lo, hi), 1)
        if ceil_mode and count * stride < min(size + lo, size + lo + hi - length + stride):
            count += 1
        output.append(count)
        reach.append((lo, max(hi, (count - 1) * stride + length - size - lo)))
    if min(output) < 1:
        raise ValueError(
            f"window: {whole} is larger than the padded image {padded}; use larger images, more padding or "
            "a smaller window"
        )
    return Sliding(shape, step, pads, spread, tuple(reach), tuple(output))


def _native_sums(x: jax.Array, slide: Sliding) -> jax.Array:
    """Sums of windows by XLA's own op."""
    return lax.reduce_window(
        x,
        np.zeros((), x.dtype),
        lax.add,
        (1, *slide.window, 1),
        (1, *slide.strides, 1),
        ((0, 0), *slide.reach, (0, 0)),
    )


def _slice_sums(x: jax.Array, slide: Sliding) -> jax.Array:
    """Sums of windows as sums of strided slices, one axis after the other.

    Several times faster on a CPU than XLA's own, whose gradient slides a window over a dilated image.
    """
    x = jnp.pad(x, ((0, 0), *slide.reach, (0, 0)))
    axes = zip(slide.window, slide.strides, slide.output, strict=True)
    for axis, (length, stride, count) in reversed(list(enumerate(axes, start=1))):
        if stride == length:
            whole = lax.slice_in_dim(x, 0, count * length, axis=axis)
            x = whole.reshape(*x.shape[:axis], count, length, *x.shape[axis + 1 :]).sum(axis + 1)
        else:
            taps = [positions(x, axis, tap, count, stride) for tap in range(length)]
            x = functools.reduce(jnp.add, taps)
    return x


def _counts(
    size: int, window: int, stride: int, padding: Pair, output: int, count_include_pad: bool
) -> np.ndarray:
    """Number of elements under each position of the window along one axis, ``[output]``."""
    lo, hi = padding if count_include_pad else (0, 0)
    start = np.arange(output) * stride - padding[0]
    return np.minimum(start + window, size + hi) - np.maximum(start, -lo)
