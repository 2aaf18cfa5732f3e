"""Convolution arithmetic: output sizes, effective kernels, padding that keeps a size, receptive fields.

References:
  Dumoulin and Visin 2016, *A guide to convolution arithmetic for deep learning*.
  Araujo, Norris and Sim 2019, *Computing Receptive Fields of Convolutional Neural Networks*, Distill.
"""

from collections.abc import Iterable
from typing import NamedTuple

from jaxvision.ops.windows import (
    Padding,
    Pair,
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


def effective_kernel_size(kernel_size: Size, dilation: Size) -> Sizes:
    """Pixels from the first to the last tap of a dilated kernel, ``k + (k - 1)(d - 1)``.

    Args:
      kernel_size: of the kernel, a number or one an axis.
      dilation: distance of neighbouring kernel taps.

    Returns:
      One number an axis.

    Raises:
      ValueError: if a number is below 1, or two tuples differ in length.

    References:
      Dumoulin and Visin 2016, section 5.1.

    >>> effective_kernel_size(3, 2)
    (5, 5)
    """
    return _effective(kernel_size, dilation, window_rank("kernel_size", kernel_size, dilation))


def same_padding(kernel_size: Size, *, dilation: Size = 1) -> Sizes:
    """Padding, equal on both sides, that keeps a size at stride 1 and gives ``ceil(n / s)`` at stride ``s``.

    It does not depend on the image's size, and is the padding of torch's published networks. The ``"SAME"``
    of TensorFlow and XLA is :func:`ceil_padding`.

    Args:
      kernel_size: of the kernel, a number or one an axis.
      dilation: distance of neighbouring kernel taps.

    Returns:
      Zeros on either side, one number an axis: half of the effective kernel.

    Raises:
      ValueError: if the effective kernel is even, which no equal padding suits.

    >>> same_padding(3), same_padding((7, 3), dilation=2)
    ((1, 1), (6, 2))
    """
    effective = effective_kernel_size(kernel_size, dilation)
    if any(size % 2 == 0 for size in effective):
        raise ValueError(
            f"padding: no equal padding keeps the size under an even kernel {list(effective)}; give that "
            "of each side, ((top, bottom), (left, right))"
        )
    return tuple(size // 2 for size in effective)


def ceil_padding(size: Size, kernel_size: Size, *, strides: Size = 1, dilation: Size = 1) -> tuple[Pair, ...]:
    """The least padding under which a window gives ``ceil(n / s)``: ``"SAME"`` of TensorFlow and XLA.

    It depends on the image's size, and an odd total puts the extra zero at the end. Networks whose weights
    were trained in TensorFlow need it.

    Args:
      size: of the image, ``(height, width)`` or ``(time,)`` or ``(time, height, width)``.
      kernel_size: of the kernel, a number or one an axis.
      strides: step of the window.
      dilation: distance of neighbouring kernel taps.

    Returns:
      ``(before, after)`` of each axis.

    Raises:
      ValueError: if a number is out of range, or two tuples differ in length.

    >>> ceil_padding((224, 7), 3, strides=2)
    ((0, 1), (1, 1))
    """
    rank = window_rank("kernel_size", size, kernel_size, strides, dilation)
    image = as_sizes("size", size, rank=rank, least=0)
    step = as_sizes("strides", strides, rank=rank)
    effective = _effective(kernel_size, dilation, rank)
    totals = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(image, effective, step, strict=True)]
    return tuple((total // 2, total - total // 2) for total in totals)


class Window(NamedTuple):
    """What a convolution or pooling slides over its input.

    Attributes:
      kernel_size: a number for an image, or one an axis.
      strides: step of the window.
      padding: around the input, as :func:`jaxvision.ops.convolution` takes it.
      dilation: distance of neighbouring taps.
    """

    kernel_size: Size
    strides: Size = 1
    padding: Padding = 0
    dilation: Size = 1


class ReceptiveField(NamedTuple):
    """What the features of a stack of windows see of the stack's input, one number an axis.

    Attributes:
      size: input pixels, in a row, that one feature depends on; those on the padding are counted.
      jump: distance in the input of neighbouring features, the product of all strides.
      start: centre of the first feature's field, in pixels from the centre of the first input pixel.
      padding: ``(before, after)``: how far the padding of all layers together reaches over the input. The
        first field begins at pixel ``-before``.
    """

    size: Sizes
    jump: Sizes
    start: tuple[float, ...]
    padding: tuple[Pair, ...]


def receptive_field(layers: Iterable[Window]) -> ReceptiveField:
    """Receptive field of a chain of convolutions and poolings.

    .. math::
        r = 1 + \\sum_l d_l (k_l - 1) \\prod_{i<l} s_i, \\qquad j = \\prod_l s_l, \\qquad
        p = \\sum_l p_l \\prod_{i<l} s_i, \\qquad \\text{start} = (r - 1) / 2 - p

    For any network, with branches and transposed convolutions, see
    :func:`jaxvision.inspect.receptive_fields`.

    Args:
      layers: from the input to the features.

    Returns:
      One number an axis in each field; two axes if all layers are given by plain numbers.

    Raises:
      ValueError: if a number is out of range, or layers slide over different numbers of axes.

    References:
      Araujo et al. 2019, equations 2 (size), 3 and 4 (start and padding). Dumoulin and Visin 2016, section
      2. Our ``start`` is a centre, theirs the left end, ``-padding``.

    >>> receptive_field([Window(7, 2, 3), Window(3, 2, 1)])
    ReceptiveField(size=(11, 11), jump=(4, 4), start=(0.0, 0.0), padding=((5, 5), (5, 5)))
    """
    layers = [Window(*layer) for layer in layers]
    rank = window_rank("layers", *(value for layer in layers for value in layer))  # type: ignore[arg-type]
    sizes, jumps, before, after = [1] * rank, [1] * rank, [0] * rank, [0] * rank
    for layer in layers:
        effective = _effective(layer.kernel_size, layer.dilation, rank)
        step, pads = as_sizes("strides", layer.strides, rank=rank), as_padding(layer.padding, rank=rank)
        for axis, (k, s, (lo, hi)) in enumerate(zip(effective, step, pads, strict=True)):
            sizes[axis] += (k - 1) * jumps[axis]
            before[axis] += lo * jumps[axis]
            after[axis] += hi * jumps[axis]
            jumps[axis] *= s
    start = tuple((size - 1) / 2 - lo for size, lo in zip(sizes, before, strict=True))
    return ReceptiveField(tuple(sizes), tuple(jumps), start, tuple(zip(before, after, strict=True)))


def _effective(kernel_size: Size, dilation: Size, rank: int) -> Sizes:
    window = as_sizes("kernel_size", kernel_size, rank=rank)
    spread = as_sizes("dilation", dilation, rank=rank)
    return tuple(d * (k - 1) + 1 for k, d in zip(window, spread, strict=True))
