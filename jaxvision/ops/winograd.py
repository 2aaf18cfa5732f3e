"""Convolution by Winograd's minimal filtering: fewer products for a 3x3 kernel, more sums."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from jaxvision.ops.formulations import positions
from jaxvision.ops.windows import Pair, Sizes

_LEAST_CHANNELS = 64
"""With fewer channels the sums of the transforms take longer than the products that they save."""

_MOST_PIXELS = 2**14
"""Over more pixels, of the whole batch, the transformed image, four times as large, leaves the caches."""

Convolution = Callable[[jax.Array, jax.Array], jax.Array]


def is_winograd_faster(kernel: jax.Array, strides: Sizes, dilation: Sizes, pixels: int) -> bool:
    """Whether :func:`winograd_convolution` can compute a convolution (one group), and is the faster way.

    Args:
      kernel: ``[..., Cin, Cout]``.
      strides: of each spatial axis.
      dilation: of each.
      pixels: of the output, ``N H' W'``; of few, the kernel's transforms are most of the work.
    """
    *window, channels, features = kernel.shape
    fits = window == [3, 3] and max(*strides, *dilation) == 1 and kernel.dtype.itemsize >= 4
    return fits and min(channels, features) >= _LEAST_CHANNELS and features < 2 * pixels <= 2 * _MOST_PIXELS


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def winograd_convolution(
    x: jax.Array, kernel: jax.Array, padding: Sequence[Pair], direct: Convolution
) -> jax.Array:
    """3x3 convolution at stride 1 by the algorithm F(2x2, 3x3) of Lavin and Gray (2016), section 4.1.

    Tiles of 4x4 pixels, two apart, give 2x2 outputs each by 16 products of matrices ``[N T, Cin]`` and
    ``[Cin, Cout]`` for ``T`` tiles an image, where sums over the taps take 36. Rounding is about 1e-6 of
    the largest output in float32; an infinite pixel makes its tile nan. Where a derivative is asked for
    ``direct`` is computed and differentiated: a training step would not be faster by this algorithm.

    Args:
      x: ``[N, H, W, Cin]``.
      kernel: ``[3, 3, Cin, Cout]``.
      padding: (before, after) of both axes.
      direct: the same function of ``x`` and ``kernel``.

    Returns:
      ``[N, H', W', Cout]``.
    """
    sizes = [size + sum(pads) - 2 for size, pads in zip(x.shape[1:3], padding, strict=True)]
    tiles = [-(-size // 2) for size in sizes]
    around = [(lo, hi + size % 2, 0) for (lo, hi), size in zip(padding, sizes, strict=True)]
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *around, (0, 0, 0)])
    images = [_transform_image(row, 2, tiles[1]) for row in _transform_image(x, 1, tiles[0])]
    kernels = [_transform_kernel(row) for row in _transform_kernel(kernel)]
    sums = []
    for row in zip(images, kernels, strict=True):
        products = [image @ matrix for image, matrix in zip(*row, strict=True)]
        sums.append(_transform_products(products))
    phases = [_transform_products(column) for column in zip(*sums, strict=True)]  # of columns, then of rows
    y = jnp.stack([jnp.stack(phase, axis=2) for phase in phases], axis=4)  # [N, T, 2, T', 2, Cout]
    y = y.reshape(y.shape[0], 2 * tiles[0], 2 * tiles[1], y.shape[-1])
    return y[:, : sizes[0], : sizes[1]]


@functools.partial(winograd_convolution.defjvp, symbolic_zeros=True)
def _winograd_convolution_jvp(
    padding: Sequence[Pair],
    direct: Convolution,
    primals: tuple[jax.Array, jax.Array],
    tangents: tuple[jax.Array, jax.Array],
) -> tuple[jax.Array, jax.Array]:
    moving = [not isinstance(tangent, SymbolicZero) for tangent in tangents]

    def convolve(*operands: jax.Array) -> jax.Array:
        left = iter(operands)
        return direct(*(next(left) if moves else fixed for moves, fixed in zip(moving, primals, strict=True)))

    def of_moving(arrays: Sequence[jax.Array]) -> list[jax.Array]:
        return [array for array, moves in zip(arrays, moving, strict=True) if moves]

    return jax.jvp(convolve, of_moving(primals), of_moving(tangents))


def _transform_image(x: jax.Array, axis: int, tiles: int) -> list[jax.Array]:
    """The four rows of ``B^T d`` along one axis of the image's tiles."""
    d0, d1, d2, d3 = (positions(x, axis, tap, tiles, 2) for tap in range(4))
    return [d0 - d2, d1 + d2, d2 - d1, d1 - d3]


def _transform_kernel(taps: jax.Array) -> list[jax.Array]:
    """The four rows of ``G g`` along the first axis of a kernel."""
    g0, g1, g2 = taps
    even, odd = (g0 + g2) / 2, g1 / 2
    return [g0, even + odd, even - odd, g2]


def _transform_products(products: Sequence[jax.Array]) -> list[jax.Array]:
    """The two rows of ``A^T m`` along one axis of the products."""
    m0, m1, m2, m3 = products
    return [m0 + m1 + m2, m1 - m2 - m3]
