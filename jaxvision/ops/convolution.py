"""Convolution and transposed convolution of images, with the arithmetic of their sizes.

Both are cross-correlations in the sense of PyTorch: the kernel is not flipped, padding is explicit.
"""

import functools

import jax
from jax import lax

from jaxvision.core import check_floating, check_layout
from jaxvision.ops.formulations import (
    native_convolution,
    native_transposed_convolution,
    patch_convolution,
    phase_transposed_convolution,
)
from jaxvision.ops.windows import Padding, Pair, Size, as_padding, as_pair, window_output_size

_FEW_PIXELS = 2
"""On a CPU a convolution is a matrix product of patches while the patches, ``N H' W'`` rows, are at most this
many times as large as the kernel, ``Cout`` columns: deep layers on small maps, such as VGG's fc6."""


def convolution(
    x: jax.Array,
    kernel: jax.Array,
    *,
    strides: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> jax.Array:
    """Two-dimensional convolution (cross-correlation), as ``torch.nn.functional.conv2d``.

    .. math:: y_{n,i,j,o} = \\sum_{u,v,c} x_{n,\\; s i + d u - p,\\; s j + d v - p,\\; c} \\; k_{u,v,c,o}

    Args:
      x: images ``[N, H, W, Cin]``, floating.
      kernel: ``[kh, kw, Cin / groups, Cout]``, of the dtype of ``x``. Output channels are in group order.
      strides: step of the window, a number or ``(height, width)``.
      padding: zeros around the image: a number, ``(height, width)`` or ``((top, bottom), (left, right))``.
      dilation: distance of neighbouring kernel taps in the image (1 is an ordinary convolution).
      groups: number of independent groups of channels.

    Returns:
      ``[N, H', W', Cout]`` in the dtype of ``x``; see :func:`convolution_output_size`.

    Raises:
      ValueError: if shapes do not fit, dtypes differ, or the kernel is larger than the padded image.

    >>> import jax.numpy as jnp
    >>> convolution(jnp.ones((1, 3, 3, 1)), jnp.ones((3, 3, 1, 1)), padding=1)[0, :, :, 0]
    Array([[4., 6., 4.],
           [6., 9., 6.],
           [4., 6., 4.]], dtype=float32)
    """
    _check_operands(x, kernel)
    channels, features = x.shape[-1], kernel.shape[-1]
    if groups < 1 or channels % groups or features % groups or kernel.shape[2] * groups != channels:
        raise ValueError(
            f"kernel: expected [kh, kw, Cin / groups, Cout] for {channels} input channels in {groups} "
            f"group(s), got {list(kernel.shape)}; its third size must be Cin / groups, and groups must "
            "divide Cin and Cout"
        )
    step, spread, pads = as_pair("strides", strides), as_pair("dilation", dilation), as_padding(padding)
    height, width = convolution_output_size(
        x.shape[1:3], kernel.shape[:2], strides=step, padding=pads, dilation=spread
    )
    native = functools.partial(native_convolution, strides=step, padding=pads, dilation=spread, groups=groups)
    pixels = x.shape[0] * height * width
    if groups > 1 or (kernel.shape[:2] != (1, 1) and pixels > _FEW_PIXELS * features):
        return native(x, kernel)
    patches = functools.partial(patch_convolution, strides=step, padding=pads, dilation=spread)
    return lax.platform_dependent(x, kernel, cpu=patches, default=native)


def transposed_convolution(
    x: jax.Array,
    kernel: jax.Array,
    *,
    strides: Size = 1,
    padding: Padding = 0,
    output_padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> jax.Array:
    """Two-dimensional transposed convolution, as ``torch.nn.functional.conv_transpose2d``.

    The gradient of :func:`convolution` with respect to its image, read as a layer of its own: each input
    pixel adds its multiple of the kernel to the output, ``strides`` pixels further than its neighbour's.

    .. math:: y_{n,\\; s i + d u - p,\\; s j + d v - p,\\; o} \\mathrel{+}= x_{n,i,j,c} \\; k_{u,v,c,o}

    Args:
      x: images ``[N, H, W, Cin]``, floating.
      kernel: ``[kh, kw, Cin, Cout / groups]``, of the dtype of ``x``: a torch weight transposed by
        ``(2, 3, 0, 1)``, not flipped.
      strides: how far apart the kernels of neighbouring inputs are laid.
      padding: rows and columns cut off the output: a number, ``(height, width)`` or one a side.
      output_padding: rows and columns added at the bottom and right, below ``max(strides, dilation)``;
        it picks one of the sizes that a strided convolution maps to one.
      dilation: distance of neighbouring kernel taps in the output.
      groups: number of independent groups of channels.

    Returns:
      ``[N, H', W', Cout]`` in the dtype of ``x``; see :func:`transposed_convolution_output_size`.

    Raises:
      ValueError: if shapes do not fit, dtypes differ, ``output_padding`` is too large, or nothing is left
        of the output after ``padding`` is cut off.

    >>> import jax.numpy as jnp
    >>> transposed_convolution(jnp.ones((1, 1, 2, 1)), jnp.ones((1, 3, 1, 1)), strides=2)[0, :, :, 0]
    Array([[1., 1., 2., 1., 1.]], dtype=float32)
    """
    _check_operands(x, kernel)
    channels = x.shape[-1]
    if groups < 1 or channels % groups or kernel.shape[2] != channels:
        raise ValueError(
            f"kernel: expected [kh, kw, Cin, Cout / groups] for {channels} input channels in {groups} "
            f"group(s), got {list(kernel.shape)}; its third size must be Cin, and groups must divide Cin"
        )
    step, spread, pads = as_pair("strides", strides), as_pair("dilation", dilation), as_padding(padding)
    extra = as_pair("output_padding", output_padding, least=0)
    transposed_convolution_output_size(
        x.shape[1:3], kernel.shape[:2], strides=step, padding=pads, output_padding=extra, dilation=spread
    )
    native = functools.partial(
        native_transposed_convolution,
        strides=step,
        padding=pads,
        output_padding=extra,
        dilation=spread,
        groups=groups,
    )
    if groups > 1 or spread != (1, 1) or step == (1, 1):
        return native(x, kernel)
    phases = functools.partial(phase_transposed_convolution, strides=step, padding=pads, output_padding=extra)
    return lax.platform_dependent(x, kernel, cpu=phases, default=native)


def convolution_output_size(
    size: Size, kernel_size: Size, *, strides: Size = 1, padding: Padding = 0, dilation: Size = 1
) -> Pair:
    """Height and width that :func:`convolution` gives, ``floor((n + lo + hi - d(k-1) - 1) / s) + 1``.

    Raises:
      ValueError: if the dilated kernel is larger than the padded image.

    >>> convolution_output_size((224, 160), 7, strides=2, padding=3)
    (112, 80)
    """
    image, window = as_pair("size", size, least=0), as_pair("kernel_size", kernel_size)
    step, spread, pads = as_pair("strides", strides), as_pair("dilation", dilation), as_padding(padding)
    sizes = [window_output_size(*axis) for axis in zip(image, window, step, pads, spread, strict=True)]
    if min(sizes) < 1:
        effective = [d * (k - 1) + 1 for k, d in zip(window, spread, strict=True)]
        padded = [n + sum(pad) for n, pad in zip(image, pads, strict=True)]
        raise ValueError(
            f"kernel: {effective} (size {list(window)}, dilation {list(spread)}) is larger than the padded "
            f"image {padded}; use larger images, more padding or a smaller kernel"
        )
    return sizes[0], sizes[1]


def transposed_convolution_output_size(
    size: Size,
    kernel_size: Size,
    *,
    strides: Size = 1,
    padding: Padding = 0,
    output_padding: Size = 0,
    dilation: Size = 1,
) -> Pair:
    """Height and width that :func:`transposed_convolution` gives, ``(n-1)s - lo - hi + d(k-1) + 1 + extra``.

    Raises:
      ValueError: if ``output_padding`` is not below ``max(strides, dilation)``, or nothing is left.

    >>> transposed_convolution_output_size((10, 10), 4, strides=2, padding=1)
    (20, 20)
    """
    image, window = as_pair("size", size), as_pair("kernel_size", kernel_size)
    step, spread, pads = as_pair("strides", strides), as_pair("dilation", dilation), as_padding(padding)
    extra = as_pair("output_padding", output_padding, least=0)
    if any(more >= max(s, d) for more, s, d in zip(extra, step, spread, strict=True)):
        raise ValueError(
            f"output_padding: expected less than max(strides, dilation) on each axis, got {list(extra)} with "
            f"strides {list(step)} and dilation {list(spread)}"
        )
    height, width = (
        (n - 1) * s - sum(pad) + d * (k - 1) + 1 + more
        for n, k, s, pad, d, more in zip(image, window, step, pads, spread, extra, strict=True)
    )
    if min(height, width) < 1:
        raise ValueError(
            f"padding: {pads} cuts off all of the output ([{height}, {width}] is left); use less padding"
        )
    return height, width


def _check_operands(x: jax.Array, kernel: jax.Array) -> None:
    check_layout("x", x, "N H W C", remedy="images are [N, H, W, C]")
    check_layout("kernel", kernel, "kh kw in out", remedy="kernels are [kh, kw, in, out]")
    check_floating(x=x, kernel=kernel)
    if x.dtype != kernel.dtype:
        raise ValueError(f"kernel: expected the dtype of x ({x.dtype}), got {kernel.dtype}; cast one of them")
