"""Depthwise convolution as shifted multiply-adds: the formulation for a CPU.

XLA:CPU has no fast kernel for a convolution of one input channel a group (20 to 50 times slower than the
multiply-adds themselves), nor for its gradients. Here each kernel tap multiplies a shifted image, channel
by channel, and the taps are added. Which way round the shifts are written decides what the compiler can
vectorise, for the value as well as for each gradient. So the derivative is given by two maps that equal the
convolution and whose *transposes* are fast. Both are ordinary JAX code: forward mode, reverse mode and any
order of derivative work.
"""

import functools
import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from jaxvision.ops.formulations import kernel_taps, positions
from jaxvision.ops.windows import Pair, Sizes, window_output_size

_ROW = 8192
"""Numbers in a row ``[images, W', C]``: fewer and the loop around it costs more than its sums."""


def tap_depthwise_convolution(
    x: jax.Array, kernel: jax.Array, strides: Sizes, padding: Sequence[Pair], dilation: Sizes
) -> jax.Array:
    """Depthwise convolution; arguments as :func:`jaxvision.ops.convolution` with ``groups = Cin``.

    A kernel of ``m`` output channels a group ``[kh, kw, 1, m Cin]`` meets each input channel ``m`` times.
    """
    wide = jnp.promote_types(x.dtype, jnp.float32)  # bfloat16 would lose digits at every tap
    multiplier = kernel.shape[-1] // x.shape[-1]
    repeated = jnp.repeat(x, multiplier, axis=-1) if multiplier > 1 else x
    taps = kernel.reshape(-1, kernel.shape[-1])  # [kh kw, C]
    geometry = (kernel.shape[:-2], strides, tuple(padding), dilation)
    return _convolve(repeated.astype(wide), taps.astype(wide), *geometry).astype(x.dtype)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3, 4, 5))
def _convolve(
    x: jax.Array, taps: jax.Array, window: Sizes, strides: Sizes, padding: Sequence[Pair], dilation: Sizes
) -> jax.Array:
    """Gathers: every output pixel reads its window from the padded image."""
    shifted = kernel_taps(x, window, strides, padding, dilation)
    products = [pixels * tap for pixels, tap in zip(shifted, _rows_of(taps, x.ndim), strict=True)]
    return functools.reduce(jnp.add, products)


@functools.partial(_convolve.defjvp, symbolic_zeros=True)
def _convolve_jvp(
    window: Sizes,
    strides: Sizes,
    padding: Sequence[Pair],
    dilation: Sizes,
    primals: tuple[jax.Array, jax.Array],
    tangents: tuple[jax.Array, jax.Array],
) -> tuple[jax.Array, jax.Array]:
    (x, taps), (x_tangent, taps_tangent) = primals, tangents
    geometry = (window, strides, padding, dilation)
    y = _convolve(x, taps, *geometry)
    tangent = jnp.zeros_like(y)
    if not isinstance(x_tangent, SymbolicZero):
        tangent += _spread(x_tangent, taps, *geometry)
    if not isinstance(taps_tangent, SymbolicZero):
        tangent += _scan_rows(x, taps_tangent, *geometry)
    return y, tangent


def _spread(
    x: jax.Array, taps: jax.Array, window: Sizes, strides: Sizes, padding: Sequence[Pair], dilation: Sizes
) -> jax.Array:
    """Scatters: every image pixel is added to the outputs that read it. The transpose gathers.

    Pixels are first sorted into the phases of the stride: all that one tap reads is in one phase, at
    neighbouring places.
    """
    sizes = x.shape[1:-1]
    output = [
        window_output_size(*axis) for axis in zip(sizes, window, strides, padding, dilation, strict=True)
    ]
    # Tap u of an axis reads pixel s q + d u - p = s (q + shift) + phase.
    places = [
        [divmod(d * u - lo, s) for u in range(k)]
        for k, s, (lo, _), d in zip(window, strides, padding, dilation, strict=True)
    ]
    lengths = [-(-n // s) for n, s in zip(sizes, strides, strict=True)]
    phases = dict(zip(itertools.product(*map(range, strides)), _split_phases(x, strides), strict=True))
    reach = [(min(shift for shift, _ in axis), max(shift for shift, _ in axis)) for axis in places]
    parts = []
    for tap, row in zip(itertools.product(*places), _rows_of(taps, x.ndim), strict=True):
        product = phases[tuple(phase for _, phase in tap)] * row
        around = [
            (last - shift, shift - first, 0) for (shift, _), (first, last) in zip(tap, reach, strict=True)
        ]
        parts.append(lax.pad(product, jnp.zeros((), x.dtype), [(0, 0, 0), *around, (0, 0, 0)]))
    cut = [
        (-last, count - (length + last - first) + last, 0)
        for (first, last), count, length in zip(reach, output, lengths, strict=True)
    ]
    return lax.pad(functools.reduce(jnp.add, parts), jnp.zeros((), x.dtype), [(0, 0, 0), *cut, (0, 0, 0)])


def _split_phases(x: jax.Array, strides: Sizes) -> Sequence[jax.Array]:
    """Every ``s``-th pixel from each start, in row-major order of the starts, ``[N, H / s, W / s, C]``."""
    if all(s == 1 for s in strides):
        return [x]
    count, *sizes, channels = x.shape
    rank = len(sizes)
    x = jnp.pad(x, [(0, 0), *((0, -n % s) for n, s in zip(sizes, strides, strict=True)), (0, 0)])
    lengths = [-(-n // s) for n, s in zip(sizes, strides, strict=True)]
    x = x.reshape(count, *itertools.chain(*zip(lengths, strides, strict=True)), channels)
    x = x.transpose(*range(2, 2 * rank + 1, 2), 0, *range(1, 2 * rank, 2), 2 * rank + 1)
    starts = math.prod(strides)
    x = x.reshape(starts, count, *lengths, channels)
    return [part[0] for part in lax.split(x, (1,) * starts)]


def _scan_rows(
    x: jax.Array, taps: jax.Array, window: Sizes, strides: Sizes, padding: Sequence[Pair], dilation: Sizes
) -> jax.Array:
    """Goes over the output row by row. The transpose adds to one row ``[W', C]`` of each tap as it goes.

    A sum over all pixels that is fused with the shifts is not vectorised; adding row to row is.
    """
    if x.shape[0] == 0:  # no row to slice
        return _spread(x, taps, window, strides, padding, dilation)
    padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    *outer, width = (
        window_output_size(*axis)
        for axis in zip(x.shape[1:-1], window, strides, padding, dilation, strict=True)
    )
    count, channels = x.shape[0], x.shape[-1]
    fitting = [n for n in range(2, count + 1) if count % n == 0 and n * width * channels <= _ROW]
    images = max(fitting, default=1)  # short rows of several images are taken together
    groups = count // images
    padded = padded.reshape(groups, images, *padded.shape[1:])
    rows = [jnp.broadcast_to(row, (images, width, channels)) for row in _rows_of(taps, 3)]
    starts = jnp.stack(
        [index.ravel() for index in jnp.indices((groups, *outer), jnp.int32)], axis=-1
    )  # [rows, 1 + outer axes]
    reach = [d * (k - 1) + 1 for k, d in zip(window[:-1], dilation[:-1], strict=True)]

    @functools.partial(jax.checkpoint, policy=jax.checkpoint_policies.nothing_saveable)
    def row(rows: Sequence[jax.Array], start: jax.Array) -> jax.Array:
        moved = [place * stride for place, stride in zip(start[1:], strides, strict=False)]
        zero = jnp.zeros((), start.dtype)  # all indices of one type: a literal is an int64 where x64 is on
        corner = [start[0], zero, *moved, zero, zero]
        seen = lax.dynamic_slice(padded, corner, (1, images, *reach, *padded.shape[-2:]))[0]
        y = jnp.zeros((images, width, channels), x.dtype)
        for tap, weights in zip(itertools.product(*map(range, window)), rows, strict=True):
            place = tuple(u * d for u, d in zip(tap[:-1], dilation[:-1], strict=True))
            line = seen[(slice(None), *place)]  # [images, W, C]
            y += positions(line, 1, tap[-1] * dilation[-1], width, strides[-1]) * weights
        return y

    _, y = lax.scan(lambda carry, start: (carry, row(rows, start)), None, starts)
    y = y.reshape(groups, *outer, images, width, channels)
    return jnp.moveaxis(y, -3, 1).reshape(count, *outer, width, channels)


def _rows_of(taps: jax.Array, ndim: int) -> list[jax.Array]:
    """Each tap ``[1, ..., 1, C]``; split, not indexed, for the transpose is then one concatenation."""
    split = lax.split(taps, (1,) * taps.shape[0])
    return [row.reshape((1,) * (ndim - 1) + (-1,)) for row in split]
