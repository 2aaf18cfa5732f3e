"""Convolution arithmetic: output sizes, effective kernels, padding that keeps a size, receptive fields.

References:
  Dumoulin and Visin 2016, *A guide to convolution arithmetic for deep learning*.
"""

from jaxvision.ops.windows import (
    Padding,
    Size,
    Sizes,
    as_padding,
    as_sizes,
    window_output_size,
    window_rank,
)


def convolution_output_size(
    size: Size, kernel_size: Size, *, strides: Size = 1, padding: Padding = 0, dilation: Size = 1
) -> Sizes:
    """Size that :func:`jaxvision.ops.convolution` gives, ``floor((n + lo + hi - d(k-1) - 1) / s) + 1``.

    Args:
      size: of the image, ``(height, width)`` or ``(time,)`` or ``(time, height, width)``.
      kernel_size: of the kernel, a number or one an axis.
      strides: step of the window.
      padding: zeros around the image.
      dilation: distance of neighbouring kernel taps.

    Returns:
      One number an axis.

    Raises:
      ValueError: if the dilated kernel is larger than the padded image.

    >>> convolution_output_size((224, 160), 7, strides=2, padding=3)
    (112, 80)
    """
    rank = window_rank("kernel_size", size, kernel_size)
    image = as_sizes("size", size, rank=rank, least=0)
    window = as_sizes("kernel_size", kernel_size, rank=rank)
    step, spread = as_sizes("strides", strides, rank=rank), as_sizes("dilation", dilation, rank=rank)
    pads = as_padding(padding, rank=rank)
    sizes = tuple(window_output_size(*axis) for axis in zip(image, window, step, pads, spread, strict=True))
    if min(sizes) < 1:
        effective = [d * (k - 1) + 1 for k, d in zip(window, spread, strict=True)]
        padded = [n + sum(pad) for n, pad in zip(image, pads, strict=True)]
        raise ValueError(
            f"kernel: {effective} (size {list(window)}, dilation {list(spread)}) is larger than the padded "
            f"image {padded}; use larger images, more padding or a smaller kernel"
        )
    return sizes


def transposed_convolution_output_size(
    size: Size,
    kernel_size: Size,
    *,
    strides: Size = 1,
    padding: Padding = 0,
    output_padding: Size = 0,
    dilation: Size = 1,
) -> Sizes:
    """Size of a transposed convolution, ``(n-1)s - lo - hi + d(k-1) + 1 + extra``.

    Args:
      size: of the image, ``(height, width)`` or ``(time,)`` or ``(time, height, width)``.
      kernel_size: of the kernel, a number or one an axis.
      strides: enlargement of the image.
      padding: rows and columns cut off the output.
      output_padding: rows and columns added at the bottom and right.
      dilation: distance of neighbouring kernel taps.

    Returns:
      One number an axis, as :func:`jaxvision.ops.transposed_convolution` gives it.

    Raises:
      ValueError: if ``output_padding`` is not below ``max(strides, dilation)``, or nothing is left.

    >>> transposed_convolution_output_size((10, 10), 4, strides=2, padding=1)
    (20, 20)
    """
    rank = window_rank("kernel_size", size, kernel_size)
    image = as_sizes("size", size, rank=rank)
    window = as_sizes("kernel_size", kernel_size, rank=rank)
    step, spread = as_sizes("strides", strides, rank=rank), as_sizes("dilation", dilation, rank=rank)
    pads = as_padding(padding, rank=rank)
    extra = as_sizes("output_padding", output_padding, rank=rank, least=0)
    if any(more >= max(s, d) for more, s, d in zip(extra, step, spread, strict=True)):
        raise ValueError(
            f"output_padding: expected less than max(strides, dilation) on each axis, got {list(extra)} with "
            f"strides {list(step)} and dilation {list(spread)}"
        )
    sizes = tuple(
        (n - 1) * s - sum(pad) + d * (k - 1) + 1 + more
        for n, k, s, pad, d, more in zip(image, window, step, pads, spread, extra, strict=True)
    )
    if min(sizes) < 1:
        raise ValueError(
            f"padding: {pads} cuts off all of the output ({list(sizes)} is left); use less padding"
        )
    return sizes
