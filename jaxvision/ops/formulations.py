"""The same op written in two ways: XLA's own, and one that XLA compiles to fast code for a CPU.

:func:`jaxvision.ops.convolution` and its kin pick by the platform that a program is compiled for
(``lax.platform_dependent``), so GPU and TPU keep the native op. Every formulation is built of ordinary
differentiable operations: forward mode, reverse mode and any order of derivative work.

What the CPU formulations avoid: XLA:CPU has no fast kernel for a convolution whose image is dilated or whose
window is nearly as large as its image, which is what gradients of (transposed) convolutions become; for a
window's argmax (``select-and-scatter``, the gradient of max pooling); nor for transposing a large kernel.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxvision.ops.windows import Pair, window_output_size

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def native_convolution(
    x: jax.Array, kernel: jax.Array, strides: Pair, padding: Sequence[Pair], dilation: Pair, groups: int
) -> jax.Array:
    """Convolution by XLA's own op; arguments as :func:`jaxvision.ops.convolution`."""
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        padding,
        rhs_dilation=dilation,
        dimension_numbers=_LAYOUT,
        feature_group_count=groups,
    )


def patch_convolution(
    x: jax.Array, kernel: jax.Array, strides: Pair, padding: Sequence[Pair], dilation: Pair
) -> jax.Array:
    """Convolution as one matrix product of the image's patches and the kernel (one group).

    The patches ``[N H' W', kh kw Cin]`` are gathered by ``kh kw`` strided slices. The product and both of
    its gradients read the kernel as it lies in memory.
    """
    rows, columns, channels, features = kernel.shape
    padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    height, width = (
        window_output_size(*axis)
        for axis in zip(x.shape[1:3], kernel.shape[:2], strides, padding, dilation, strict=True)
    )
    taps = [
        _positions(
            _positions(padded, 1, u * dilation[0], height, strides[0]), 2, v * dilation[1], width, strides[1]
        )
        for u in range(rows)
        for v in range(columns)
    ]
    patches = taps[0] if len(taps) == 1 else jnp.concatenate(taps, -1)  # [N, H', W', kh kw Cin]
    product = patches.reshape(-1, rows * columns * channels) @ kernel.reshape(-1, features)
    return product.reshape(*patches.shape[:3], features)


def native_transposed_convolution(
    x: jax.Array,
    kernel: jax.Array,
    strides: Pair,
    padding: Sequence[Pair],
    output_padding: Pair,
    dilation: Pair,
    groups: int,
) -> jax.Array:
    """Transposed convolution by XLA's own op: the image is dilated, the kernel flipped."""
    rows, columns, channels, features = kernel.shape
    flipped = kernel[::-1, ::-1].reshape(rows, columns, groups, channels // groups, features)
    flipped = flipped.transpose(0, 1, 3, 2, 4).reshape(rows, columns, channels // groups, groups * features)
    reach = [d * (k - 1) for k, d in zip((rows, columns), dilation, strict=True)]
    around = [
        (r - lo, r - hi + more) for r, (lo, hi), more in zip(reach, padding, output_padding, strict=True)
    ]
    return lax.conv_general_dilated(
        x,
        flipped,
        (1, 1),
        around,
        lhs_dilation=strides,
        rhs_dilation=dilation,
        dimension_numbers=_LAYOUT,
        feature_group_count=groups,
    )


def phase_transposed_convolution(
    x: jax.Array, kernel: jax.Array, strides: Pair, padding: Sequence[Pair], output_padding: Pair
) -> jax.Array:
    """Transposed convolution as one matrix product at the size of the input (one group, no dilation).

    Output pixel ``s q + a`` of an axis sums the kernel taps ``s t + a`` over inputs ``q - t``. So the ``s``
    phases ``a`` of both axes are ``sh sw Cout`` channels of one convolution of the input at stride 1, with
    ``ceil(k / s)`` taps an axis; a pixel shuffle interleaves them, and the border is cut.
    """
    (sh, sw), (rows, columns, channels, features) = strides, kernel.shape
    taps_h, taps_w = -(-rows // sh), -(-columns // sw)
    whole = jnp.pad(kernel, ((0, taps_h * sh - rows), (0, taps_w * sw - columns), (0, 0), (0, 0)))
    phases = whole.reshape(taps_h, sh, taps_w, sw, channels, features)[::-1, :, ::-1]
    phases = phases.transpose(0, 2, 4, 1, 3, 5).reshape(taps_h, taps_w, channels, sh * sw * features)
    around = ((taps_h - 1, taps_h - 1), (taps_w - 1, taps_w - 1))
    y = patch_convolution(x, phases, (1, 1), around, (1, 1))  # [N, H + th - 1, W + tw - 1, sh sw Cout]
    count, height, width, _ = y.shape
    y = y.reshape(count, height, width, sh, sw, features).transpose(0, 1, 3, 2, 4, 5)
    y = y.reshape(count, height * sh, width * sw, features)
    cut = [
        (-lo, (n - 1) * s - lo - hi + k + more - (size - lo))
        for n, s, k, (lo, hi), more, size in zip(
            x.shape[1:3], strides, (rows, columns), padding, output_padding, y.shape[1:3], strict=True
        )
    ]
    return lax.pad(y, jnp.zeros((), y.dtype), [(0, 0, 0), *((lo, hi, 0) for lo, hi in cut), (0, 0, 0)])


def native_max_pool(x: jax.Array, window: Pair, strides: Pair, padding: Sequence[Pair]) -> jax.Array:
    """Max pooling by XLA's own op; its gradient goes to the first maximum of a window."""
    return lax.reduce_window(
        x,
        np.array(-np.inf, x.dtype),  # a constant: with a traced one JAX finds no gradient
        lax.max,
        (1, *window, 1),
        (1, *strides, 1),
        ((0, 0), *padding, (0, 0)),
    )


def select_max_pool(x: jax.Array, window: Pair, strides: Pair, padding: Sequence[Pair]) -> jax.Array:
    """Max pooling as a chain of selections between strided slices, along rows and then between rows.

    The first of equal elements wins both times, so it is the first of the window in row-major order; a nan
    wins over everything, as in the native op.
    """
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)), constant_values=-jnp.inf)
    for axis in (2, 1):
        length, stride = window[axis - 1], strides[axis - 1]
        count = (x.shape[axis] - length) // stride + 1
        best = _positions(x, axis, 0, count, stride)
        for tap in range(1, length):
            rival = _positions(x, axis, tap, count, stride)
            best = jnp.where((rival > best) | (rival != rival), rival, best)
        x = best
    return x


def _positions(x: jax.Array, axis: int, start: int, count: int, stride: int) -> jax.Array:
    """``count`` elements of an axis from ``start`` on, ``stride`` apart."""
    return lax.slice_in_dim(x, start, start + (count - 1) * stride + 1, stride, axis)
