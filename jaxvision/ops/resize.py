"""Resizing of images, sequences and video by interpolation, with torch's conventions.

Interpolation is linear and separable: along one axis it is a small matrix ``[m, n]`` of weights, made by
numpy while a function is traced. GPU and TPU multiply by it. On a CPU a gather of the few neighbours that
each output has is far faster, but its transpose, a scatter, is slower than the product. So the derivative is
written there as the transpose of a gather, by the transposed matrix: what reverse mode then runs is a gather.
"""

import functools
import math
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxvision.core import check_floating
from jaxvision.ops.adaptive import adaptive_average_pool
from jaxvision.ops.windows import Size, Sizes, as_sizes, check_slid_over, window_rank

NEAREST = ("nearest", "nearest-exact")
LINEAR = ("linear", "bilinear", "trilinear")
METHODS = (*NEAREST, *LINEAR, "bicubic", "area")
"""What :func:`resize` knows."""

_MOST_TAPS = 32
"""On a CPU an axis is resized by gathers while an output has at most this many neighbours."""


_Matrices: TypeAlias = list[tuple[int, np.ndarray]]


class _Kernel(NamedTuple):
    """How an axis is interpolated."""

    method: str
    align_corners: bool
    antialias: bool


def resize(
    x: jax.Array,
    size: Size,
    *,
    method: str = "bilinear",
    align_corners: bool = False,
    antialias: bool = False,
) -> jax.Array:
    """Resizes to a given size, as ``torch.nn.functional.interpolate``.

    There is no ``scale_factor``: give the size. Output pixel ``i`` of ``m`` looks at position
    ``(i + 1/2) n / m - 1/2`` of an axis of ``n`` pixels, or at ``i (n - 1) / (m - 1)`` with
    ``align_corners``; beyond the border the border's pixels are repeated.

    Args:
      x: images ``[N, H, W, C]``, sequences ``[N, T, C]`` or video ``[N, T, H, W, C]``, with at least one
        pixel. Floating, or of any dtype for the two nearest methods (label maps).
      size: of the result, one number an axis (``(time,)``, ``(height, width)``, ``(time, height, width)``),
        or a number for a square image (not its shorter side, as in torchvision's transforms).
      method: ``"bilinear"`` (also called ``"linear"`` and ``"trilinear"``: ``size`` tells the axes);
        ``"bicubic"``; ``"nearest"``, pixel ``floor(i n / m)``, or ``"nearest-exact"``, pixel ``floor((i +
        1/2) n / m)``; ``"area"``, the mean of :func:`jaxvision.ops.adaptive_average_pool`.
      align_corners: whether the first and last pixels' centres lie on each other, for the linear methods
        and ``"bicubic"``.
      antialias: for the linear methods and ``"bicubic"``: whether shrinking widens the kernel by ``n / m``,
        as Pillow does, so that no pixel is left out. It changes nothing where the size grows, but for
        ``"bicubic"``, whose kernel has another constant.

    Returns:
      ``[N, *size, C]`` in the dtype of ``x``; sums are in float32 at least.

    Raises:
      ValueError: if ``x`` has another rank than ``size`` asks for or no pixel, the method is unknown, or it
        has no such option.

    References:
      Keys 1981, *Cubic Convolution Interpolation for Digital Image Processing*, equation 15, with its
      constant ``a = -0.75`` as in PyTorch (Keys: -0.5, and here with ``antialias``).

    >>> resize(jnp.array([0.0, 4.0]).reshape(1, 1, 2, 1), (1, 4)).ravel()
    Array([0., 1., 3., 4.], dtype=float32)
    """
    target = _check(x, size, method, align_corners, antialias)
    if method == "area":
        return adaptive_average_pool(x, target)
    kernel = _Kernel(method, align_corners, antialias)
    if method in NEAREST:
        floating = jnp.issubdtype(x.dtype, jnp.floating)
        return _nearest(x, target, kernel) if floating else _by_gathers(x, _matrices(x, target, kernel))
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return _interpolate(wide, target, kernel).astype(x.dtype)


def _check(x: jax.Array, size: Size, method: str, align_corners: bool, antialias: bool) -> Sizes:
    """Checks the arguments of :func:`resize` and reads the size."""
    if method not in METHODS:
        raise ValueError(f"method: expected one of {', '.join(METHODS)}, got {method!r}")
    if (align_corners or antialias) and method not in (*LINEAR, "bicubic"):
        raise ValueError(
            f"method: {method!r} has neither align_corners nor antialias; leave them out or use "
            "'bilinear' or 'bicubic'"
        )
    rank = window_rank("size", size)
    check_slid_over("x", x, rank, cause=f"the size {size} is one of")
    if method not in NEAREST:
        check_floating(x=x)
    if min(x.shape[1:-1]) < 1:
        raise ValueError(f"x: expected at least one pixel, got {list(x.shape)}")
    return as_sizes("size", size, rank=rank)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _nearest(x: jax.Array, target: Sizes, kernel: _Kernel) -> jax.Array:
    """One neighbour, exactly, on every platform."""
    return _by_gathers(x, _matrices(x, target, kernel))


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _interpolate(x: jax.Array, target: Sizes, kernel: _Kernel) -> jax.Array:
    """Sums of neighbours, in the way that is fast on the platform."""
    matrices = _matrices(x, target, kernel)
    return lax.platform_dependent(
        x,
        cpu=functools.partial(_by_gathers, matrices=matrices),
        default=functools.partial(_by_products, matrices=matrices),
    )


def _tangent(x: jax.Array, target: Sizes, kernel: _Kernel) -> jax.Array:
    """The same map, written so that its transpose is fast."""
    matrices = _matrices(x, target, kernel)
    transposes = [(axis, weights.T) for axis, weights in reversed(matrices)]
    output = jax.ShapeDtypeStruct((x.shape[0], *target, x.shape[-1]), x.dtype)
    back = jax.linear_transpose(functools.partial(_by_gathers, matrices=transposes), output)
    return lax.platform_dependent(
        x,
        cpu=lambda x: back(x)[0],
        default=functools.partial(_by_products, matrices=matrices),
    )


@_nearest.defjvp
def _nearest_jvp(
    target: Sizes, kernel: _Kernel, primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    return _nearest(*primals, target, kernel), _tangent(*tangents, target, kernel)


@_interpolate.defjvp
def _interpolate_jvp(
    target: Sizes, kernel: _Kernel, primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    return _interpolate(*primals, target, kernel), _tangent(*tangents, target, kernel)


def _matrices(x: jax.Array, target: Sizes, kernel: _Kernel) -> _Matrices:
    """The axes that change, those that shrink most first, and the weights ``[m, n]`` of each."""
    axes = [axis for axis, size in enumerate(target, start=1) if size != x.shape[axis]]
    axes.sort(key=lambda axis: target[axis - 1] / x.shape[axis])
    return [(axis, _weights(x.shape[axis], target[axis - 1], kernel)) for axis in axes]


def _by_products(x: jax.Array, matrices: _Matrices) -> jax.Array:
    """Multiplies each axis by its matrix."""
    for axis, weights in matrices:
        x = _product(x, axis, weights)
    return x


def _by_gathers(x: jax.Array, matrices: _Matrices) -> jax.Array:
    """Multiplies each axis by its matrix, whose rows are zero but for a few neighbours."""
    for axis, weights in matrices:
        used = weights != 0
        first = used.argmax(1)
        last = weights.shape[1] - 1 - used[:, ::-1].argmax(1)
        taps = int(np.where(used.any(1), last - first + 1, 1).max())
        if taps > _MOST_TAPS:
            x = _product(x, axis, weights)
            continue
        first = np.minimum(first, weights.shape[1] - taps)
        neighbours = [jnp.take(x, first + tap, axis, mode="clip") for tap in range(taps)]
        shares = np.take_along_axis(weights, first[:, None] + np.arange(taps), 1)  # [m, taps]
        if taps > 1 or (shares != 1).any():  # one neighbour is copied, of whatever dtype
            shape = [len(first) if place == axis else 1 for place in range(x.ndim)]
            neighbours = [
                neighbour * jnp.asarray(share.reshape(shape), x.dtype)
                for neighbour, share in zip(neighbours, shares.T, strict=True)
            ]
        x = functools.reduce(jnp.add, neighbours)
    return x


def _product(x: jax.Array, axis: int, weights: np.ndarray) -> jax.Array:
    """Multiplies one axis by a matrix, ``[m, n]``.

    Batch, then that axis, then all others as columns of one product: a CPU has no fast kernel for a
    contraction in the middle, and none for a product with as few columns as there are channels.
    """
    front = jnp.moveaxis(x, axis, 1)
    matrix = jnp.broadcast_to(jnp.asarray(weights, x.dtype), (x.shape[0], *weights.shape))
    columns = front.reshape(*front.shape[:2], math.prod(front.shape[2:]))
    product = jnp.matmul(matrix, columns, precision=lax.Precision.HIGHEST)
    return jnp.moveaxis(product.reshape(*product.shape[:2], *front.shape[2:]), 1, axis)


def _weights(size: int, target: int, kernel: _Kernel) -> np.ndarray:
    """Share of each pixel in each output pixel of one axis, ``[target, size]``."""
    weights = np.zeros((target, size))
    output = np.arange(target)
    if kernel.method in NEAREST:
        # In single precision, as PyTorch: at a tie the rounding decides.
        step = np.float32(size) / np.float32(target)
        half = np.float32(0.5 if kernel.method == "nearest-exact" else 0)
        pixels = np.floor((output.astype(np.float32) + half) * step).astype(int)
        weights[output, np.minimum(pixels, size - 1)] = 1
        return weights
    scale = size / target
    if kernel.align_corners:
        scale = (size - 1) / (target - 1) if target > 1 else 0
    if kernel.antialias:
        return _antialiased_weights(weights, scale, kernel.method)
    position = output * scale if kernel.align_corners else (output + 0.5) * scale - 0.5
    if kernel.method in LINEAR:
        position = position.clip(0, size - 1)
    reach, shape = (1, _triangle) if kernel.method in LINEAR else (2, functools.partial(_cubic, a=-0.75))
    before = np.floor(position).astype(int)
    for pixel in range(1 - reach, reach + 1):
        share = shape(before + pixel - position)
        np.add.at(weights, (output, (before + pixel).clip(0, size - 1)), share)
    return weights


def _antialiased_weights(weights: np.ndarray, scale: float, method: str) -> np.ndarray:
    """Fills in the weights of a kernel as wide as the step between outputs; each row sums to one."""
    reach, shape = (1, _triangle) if method in LINEAR else (2, functools.partial(_cubic, a=-0.5))
    step = max(scale, 1.0)
    pixel = np.arange(weights.shape[1])
    for row, share in enumerate(weights):
        centre = scale * (row + 0.5)
        first, stop = int(centre - reach * step + 0.5), int(centre + reach * step + 0.5)
        inside = (pixel >= first) & (pixel < stop)
        share[:] = np.where(inside, shape((pixel - centre + 0.5) / step), 0)
        share /= share.sum()
    return weights


def _triangle(distance: np.ndarray) -> np.ndarray:
    return np.maximum(1 - np.abs(distance), 0)


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """The kernel of cubic convolution, which is zero from a distance of two on."""
    d = np.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0))
