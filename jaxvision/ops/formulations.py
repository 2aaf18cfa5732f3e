"""The same op written in two ways: XLA's own, and one that XLA compiles to fast code for a CPU.

:func:`jaxvision.ops.convolution` and its kin pick by the platform that a program is compiled for
(``lax.platform_dependent``), so GPU and TPU keep the native op. Every formulation is built of ordinary
differentiable operations: forward mode, reverse mode and any order of derivative work.

What the CPU formulations avoid: XLA:CPU has no fast kernel for a convolution whose image is dilated or whose
window is nearly as large as its image, which is what gradients of (transposed) convolutions become; for a
window's argmax (``select-and-scatter``, the gradient of max pooling); nor for transposing a large kernel.
"""

import functools
import itertools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero

from jaxvision.ops.windows import Pair, Sizes, window_output_size

_BLOCK_CHANNELS = 16
"""Narrow groups are put together until they have this many channels."""

_BLOCK_BYTES = 3 * 2**18
"""A kernel's gradient over more than this of an operand falls to a half or a third of the speed."""

_MOST_BLOCKS = 32
"""Into so many blocks a kernel's gradient is divided at most: each is an op of the compiled program."""

_BLOCK_IMAGES = 8
"""A part of the batch keeps so many images: gradients of narrow kernels are slow over few of them."""

_BLOCK_ROWS = 4
"""A band of an image keeps so many rows, and as many as those that it shares with the next one."""

_SHORT_ROW = 2**12 if jax.__version_info__ < (0, 11) else 0
"""JAX 0.10 convolves on one core where a row of the result has at most so many numbers, ``W' Cout``."""

_MORE_ROWS = 1 / 16
"""Share of the rows that a convolution on all cores may compute in vain."""

_LAYOUTS = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}


def native_convolution(
    x: jax.Array, kernel: jax.Array, strides: Sizes, padding: Sequence[Pair], dilation: Sizes, groups: int
) -> jax.Array:
    """Convolution by XLA's own op; arguments as :func:`jaxvision.ops.convolution`."""
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        padding,
        rhs_dilation=dilation,
        dimension_numbers=_LAYOUTS[len(strides)],
        feature_group_count=groups,
    )


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3, 4))
def blocked_convolution(
    x: jax.Array, kernel: jax.Array, strides: Sizes, padding: Sequence[Pair], dilation: Sizes
) -> jax.Array:
    """Convolution by XLA's own op (one group), whose kernel's gradient is a sum over blocks of pixels.

    Where a row of the result is short XLA has, in JAX 0.10, a kernel for one core, whatever the batch, and
    takes its other one, for all cores, if the result has more rows than the image. So it has one more, which
    is cut off: 1.3 to 1.9 times as fast on two cores. JAX 0.11 uses all cores, and would lose by it.
    """
    more = _count_more_rows(x, kernel, strides, padding, dilation)
    (top, bottom), *sides = padding
    y = native_convolution(x, kernel, strides, [(top, bottom + more), *sides], dilation, 1)
    return y[:, : y.shape[1] - more]


@functools.partial(blocked_convolution.defjvp, symbolic_zeros=True)
def _blocked_convolution_jvp(
    strides: Sizes,
    padding: Sequence[Pair],
    dilation: Sizes,
    primals: tuple[jax.Array, jax.Array],
    tangents: tuple[jax.Array, jax.Array],
) -> tuple[jax.Array, jax.Array]:
    (x, kernel), (x_tangent, kernel_tangent) = primals, tangents
    geometry = (strides, padding, dilation)
    y = blocked_convolution(x, kernel, *geometry)
    tangent = jnp.zeros_like(y)
    if not isinstance(x_tangent, SymbolicZero):
        # Without more rows: the image's gradient, its transpose, would be the longer by them, and no faster.
        tangent += native_convolution(x_tangent, kernel, *geometry, 1)
    if not isinstance(kernel_tangent, SymbolicZero):
        tangent += _convolve_blocks(x, kernel_tangent, *geometry, like=y)
    return y, tangent


def _count_more_rows(
    x: jax.Array, kernel: jax.Array, strides: Sizes, padding: Sequence[Pair], dilation: Sizes
) -> int:
    """Rows to add so that the result has more than the image; 0 where that is of no use, or too many."""
    if len(strides) != 2 or strides[0] > 1 or x.dtype.itemsize < 4:
        return 0
    axes = zip(x.shape[1:3], kernel.shape[:2], strides, padding, dilation, strict=True)
    height, width = (window_output_size(*axis) for axis in axes)
    more = x.shape[1] + 1 - height
    return more if 0 < more <= _MORE_ROWS * height and width * kernel.shape[-1] <= _SHORT_ROW else 0


def _convolve_blocks(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sizes,
    padding: Sequence[Pair],
    dilation: Sizes,
    *,
    like: jax.Array,
) -> jax.Array:
    """Convolution of parts of the batch by themselves, and of an image band by band.

    Where ``jit`` shards the batch over CPU devices no image moves, if each device's share of the batch is a
    multiple of the parts; but each block's gradient is summed over the devices by itself. Blocks are many
    where maps are large, and kernels small.

    Args:
      x: ``[N, ..., Cin]``.
      kernel: ``[..., Cin, Cout]``.
      strides: of each spatial axis.
      padding: (before, after) of each.
      dilation: of each.
      like: an array of the result's shape.
    """
    reach = dilation[0] * (kernel.shape[0] - 1) + 1  # rows of the image that a row of the result meets
    parts, bands = _count_blocks(x, like, reach // strides[0])
    if bands > 1:
        x = jnp.pad(x, ((0, 0), padding[0], *[(0, 0)] * (x.ndim - 2)))
        padding = ((0, 0), *padding[1:])
    height, stride = like.shape[1], strides[0]
    edges = [band * height // bands for band in range(bands + 1)]
    bounds = [(first * stride, (end - 1) * stride + reach) for first, end in itertools.pairwise(edges)]

    def convolve(images: jax.Array) -> jax.Array:
        if bands == 1:
            return native_convolution(images, kernel, strides, padding, dilation, 1)
        rows = (lax.slice_in_dim(images, *bound, axis=1) for bound in bounds)
        found = [native_convolution(band, kernel, strides, padding, dilation, 1) for band in rows]
        return jnp.concatenate(found, axis=1)

    if parts == 1:
        return convolve(x)
    # A part takes every parts-th image, some of each device where the batch is cut over devices.
    found = [convolve(x[part::parts]) for part in range(parts)]
    return jnp.stack(found, axis=1).reshape(x.shape[0], *found[0].shape[1:])


def _count_blocks(x: jax.Array, y: jax.Array, shared: int) -> tuple[int, int]:
    """Parts of the batch, and bands of each image, of a convolution whose bands share some rows."""
    if x.dtype.itemsize < 4:
        return 1, 1  # a sum of many rounded gradients would be a coarse one
    largest = max(x.size * x.dtype.itemsize, y.size * y.dtype.itemsize)
    blocks = max(1, min(_MOST_BLOCKS, math.ceil(largest / _BLOCK_BYTES)))
    most = min(blocks, x.shape[0] // _BLOCK_IMAGES)
    parts = next((count for count in range(most, 1, -1) if x.shape[0] % count == 0), 1)
    tallest = max(1, y.shape[1] // max(_BLOCK_ROWS, shared))
    return parts, min(tallest, math.ceil(blocks / parts))


def patch_convolution(
    x: jax.Array, kernel: jax.Array, strides: Sizes, padding: Sequence[Pair], dilation: Sizes
) -> jax.Array:
    """Convolution as one matrix product of the image's patches and the kernel (one group).

    The patches ``[N H' W', kh kw Cin]`` are gathered by ``kh kw`` strided slices. The product and both of
    its gradients read the kernel as it lies in memory.
    """
    *window, channels, features = kernel.shape
    taps = kernel_taps(x, window, strides, padding, dilation)
    patches = taps[0] if len(taps) == 1 else jnp.concatenate(taps, -1)  # [N, H', W', kh kw Cin]
    product = patches.reshape(-1, math.prod(window) * channels) @ kernel.reshape(-1, features)
    return product.reshape(*patches.shape[:-1], features)


def overlap_convolution(
    x: jax.Array, kernel: jax.Array, padding: Sequence[Pair], dilation: Sizes
) -> jax.Array:
    """Convolution at stride 1 as a sum of products, one a tap, each over the pixels that its tap meets.

    Where taps are nearly as far apart as the image is wide most of what they meet is padding, and no work.
    """
    *window, _, features = kernel.shape
    axes = list(zip(x.shape[1:-1], window, padding, dilation, strict=True))
    output = [window_output_size(size, length, 1, pads, spread) for size, length, pads, spread in axes]
    y = jnp.zeros((x.shape[0], *output, features), x.dtype)
    for tap in itertools.product(*map(range, window)):
        spans = [_overlap(place, *axis) for place, axis in zip(tap, axes, strict=True)]
        if any(start >= end for start, end, _ in spans):
            continue
        seen = x
        for axis, (start, end, shift) in enumerate(spans, start=1):
            seen = lax.slice_in_dim(seen, start + shift, end + shift, axis=axis)
        around = [(start, size - end, 0) for (start, end, _), size in zip(spans, output, strict=True)]
        y += lax.pad(seen @ kernel[tap], jnp.zeros((), y.dtype), [(0, 0, 0), *around, (0, 0, 0)])
    return y


def overlap_share(
    sizes: Sequence[int], window: Sequence[int], padding: Sequence[Pair], dilation: Sizes
) -> float:
    """Share of a stride-1 convolution's products whose tap meets a pixel of the image, not padding."""
    shares = []
    for size, length, pads, spread in zip(sizes, window, padding, dilation, strict=True):
        spans = [_overlap(tap, size, length, pads, spread) for tap in range(length)]
        output = window_output_size(size, length, 1, pads, spread)
        shares.append(sum(max(0, end - start) for start, end, _ in spans) / (length * output))
    return math.prod(shares)


def _overlap(tap: int, size: int, length: int, pads: Pair, spread: int) -> tuple[int, int, int]:
    """Outputs ``start .. end - 1`` of an axis whose tap meets the image, ``shift`` pixels further."""
    shift = tap * spread - pads[0]
    output = window_output_size(size, length, 1, pads, spread)
    return max(0, -shift), min(output, size - shift), shift


def kernel_taps(
    x: jax.Array, window: Sequence[int], strides: Sizes, padding: Sequence[Pair], dilation: Sizes
) -> list[jax.Array]:
    """The pixels that each kernel tap meets, ``[N, H', W', Cin]``, taps in row-major order."""
    padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    output = [
        window_output_size(*axis)
        for axis in zip(x.shape[1:-1], window, strides, padding, dilation, strict=True)
    ]
    taps = []
    for tap in itertools.product(*map(range, window)):
        seen = padded
        for axis, (place, spread, count, stride) in enumerate(
            zip(tap, dilation, output, strides, strict=True), start=1
        ):
            seen = positions(seen, axis, place * spread, count, stride)
        taps.append(seen)
    return taps


def stacked_convolution(
    x: jax.Array, kernel: jax.Array, strides: Sizes, padding: Sequence[Pair], dilation: Sizes
) -> jax.Array:
    """Convolution of video as one of images: the frames that a kernel spans are stacked into channels."""
    depth, *window, channels, features = kernel.shape
    frames = kernel_taps(
        x, (depth, 1, 1), (strides[0], 1, 1), (padding[0], (0, 0), (0, 0)), (dilation[0], 1, 1)
    )
    stacked = jnp.concatenate(frames, -1)  # [N, T', H, W, kt Cin]
    images = stacked.reshape(-1, *stacked.shape[2:])
    flat = jnp.moveaxis(kernel, 0, -3).reshape(*window, depth * channels, features)
    y = blocked_convolution(images, flat, strides[1:], padding[1:], dilation[1:])
    return y.reshape(*stacked.shape[:2], *y.shape[1:])


def grouped_convolution(
    x: jax.Array, kernels: jax.Array, dense: Callable[[jax.Array, jax.Array], jax.Array]
) -> jax.Array:
    """A convolution in groups as several without: narrow groups share one, whose kernel is block-diagonal.

    The zeros of the blocks are multiplied too, which costs less than convolutions of very few channels.

    Args:
      x: ``[..., groups * cin]``.
      kernels: ``[..., groups, cin, cout]``.
      dense: ``([..., C], [..., C, F]) -> [..., F]``, of one group.
    """
    *window, groups, channels, features = kernels.shape
    most = max(1, _BLOCK_CHANNELS // max(channels, 1))
    block = max(size for size in range(1, groups + 1) if groups % size == 0 and size <= most)
    blocks = kernels.reshape(*window, groups // block, block, channels, 1, features)
    diagonal = jnp.eye(block, dtype=kernels.dtype).reshape(block, 1, block, 1)
    blocks = blocks * jnp.expand_dims(diagonal, range(len(window) + 1))  # [..., block, cin, block, cout]
    blocks = blocks.reshape(*window, groups // block, block * channels, block * features)
    parts = zip(
        jnp.split(x, groups // block, axis=-1), jnp.split(blocks, groups // block, axis=-3), strict=True
    )
    return jnp.concatenate([dense(part, kernel.squeeze(-3)) for part, kernel in parts], axis=-1)


def native_transposed_convolution(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sizes,
    padding: Sequence[Pair],
    output_padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> jax.Array:
    """Transposed convolution by XLA's own op: the image is dilated, the kernel flipped."""
    *window, channels, features = kernel.shape
    flipped = jnp.flip(kernel, range(len(window))).reshape(*window, groups, channels // groups, features)
    flipped = jnp.moveaxis(flipped, -3, -2).reshape(*window, channels // groups, groups * features)
    reach = [d * (k - 1) for k, d in zip(window, dilation, strict=True)]
    around = [
        (r - lo, r - hi + more) for r, (lo, hi), more in zip(reach, padding, output_padding, strict=True)
    ]
    return lax.conv_general_dilated(
        x,
        flipped,
        (1,) * len(window),
        around,
        lhs_dilation=strides,
        rhs_dilation=dilation,
        dimension_numbers=_LAYOUTS[len(window)],
        feature_group_count=groups,
    )


def phase_transposed_convolution(
    x: jax.Array, kernel: jax.Array, strides: Sizes, padding: Sequence[Pair], output_padding: Sizes
) -> jax.Array:
    """Transposed convolution as one matrix product at the size of the input (one group, no dilation).

    Output pixel ``s q + a`` of an axis sums the kernel taps ``s t + a`` over inputs ``q - t``. So the ``s``
    phases ``a`` of every axis are ``sh sw Cout`` channels of one convolution of the input at stride 1, with
    ``ceil(k / s)`` taps an axis; a pixel shuffle interleaves them, and the border is cut.
    """
    *window, channels, features = kernel.shape
    rank = len(window)
    taps = [-(-k // s) for k, s in zip(window, strides, strict=True)]
    whole = jnp.pad(
        kernel, [(0, t * s - k) for t, s, k in zip(taps, strides, window, strict=True)] + [(0, 0), (0, 0)]
    )
    phases = whole.reshape(*itertools.chain(*zip(taps, strides, strict=True)), channels, features)
    phases = jnp.flip(phases, range(0, 2 * rank, 2))  # [t0, s0, t1, s1, ..., Cin, Cout]
    order = (*range(0, 2 * rank, 2), 2 * rank, *range(1, 2 * rank, 2), 2 * rank + 1)
    phases = phases.transpose(order).reshape(*taps, channels, math.prod(strides) * features)
    ones = (1,) * rank
    y = patch_convolution(x, phases, ones, [(t - 1, t - 1) for t in taps], ones)
    sizes = y.shape[1:-1]
    y = y.reshape(y.shape[0], *sizes, *strides, features)
    order = (0, *itertools.chain(*((1 + axis, 1 + rank + axis) for axis in range(rank))), 2 * rank + 1)
    y = y.transpose(order).reshape(
        y.shape[0], *(n * s for n, s in zip(sizes, strides, strict=True)), features
    )
    cut = [
        (-lo, (n - 1) * s - lo - hi + k + more - (size - lo), 0)
        for n, s, k, (lo, hi), more, size in zip(
            x.shape[1:-1], strides, window, padding, output_padding, y.shape[1:-1], strict=True
        )
    ]
    return lax.pad(y, jnp.zeros((), y.dtype), [(0, 0, 0), *cut, (0, 0, 0)])


def native_max_pool(x: jax.Array, window: Sizes, strides: Sizes, padding: Sequence[Pair]) -> jax.Array:
    """Max pooling by XLA's own op; its gradient goes to the first maximum of a window."""
    return lax.reduce_window(
        x,
        np.array(-np.inf, x.dtype),  # a constant: with a traced one JAX finds no gradient
        lax.max,
        (1, *window, 1),
        (1, *strides, 1),
        ((0, 0), *padding, (0, 0)),
    )


def select_max_pool(
    x: jax.Array,
    window: Sizes,
    strides: Sizes,
    padding: Sequence[Pair],
    *,
    dilation: Sizes | None = None,
) -> jax.Array:
    """Max pooling as a chain of selections between strided slices, along rows and then between rows.

    The first of equal elements wins each time, so it is the first of the window in row-major order; a nan
    wins over everything, as in the native op.
    """
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)), constant_values=-jnp.inf)
    spreads = (1,) * len(window) if dilation is None else dilation
    axes = zip(window, strides, spreads, strict=True)
    for axis, (length, stride, spread) in reversed(list(enumerate(axes, start=1))):
        count = window_output_size(x.shape[axis], length, stride, (0, 0), spread)
        x = chain_of_maxima(x, axis, length, stride, spread, count)
    return x


def chain_of_maxima(
    x: jax.Array, axis: int, window: int, stride: int, dilation: int, count: int
) -> jax.Array:
    """Maxima of ``count`` windows along one axis; the first of equal elements and the last nan win."""
    best = positions(x, axis, 0, count, stride)
    for tap in range(1, window):
        rival = positions(x, axis, tap * dilation, count, stride)
        best = jnp.where((rival > best) | (rival != rival), rival, best)
    return best


def positions(x: jax.Array, axis: int, start: int, count: int, stride: int) -> jax.Array:
    """``count`` elements of an axis from ``start`` on, ``stride`` apart."""
    return lax.slice_in_dim(x, start, start + (count - 1) * stride + 1, stride, axis)
