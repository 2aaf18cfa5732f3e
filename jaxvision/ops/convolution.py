"""Convolution and transposed convolution of sequences, images and video.

Both are cross-correlations in the sense of PyTorch: the kernel is not flipped, padding is explicit. The
kernel's rank tells over how many axes it slides. :mod:`jaxvision.ops.arithmetic` has the sizes.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.export import is_symbolic_dim

from jaxvision.core import check_floating
from jaxvision.ops.arithmetic import convolution_output_size, transposed_convolution_output_size
from jaxvision.ops.depthwise import tap_depthwise_convolution
from jaxvision.ops.formulations import (
    blocked_convolution,
    grouped_convolution,
    native_convolution,
    native_transposed_convolution,
    overlap_convolution,
    overlap_share,
    patch_convolution,
    phase_transposed_convolution,
    stacked_convolution,
)
from jaxvision.ops.windows import LAYOUTS, Padding, Pair, Size, Sizes, as_padding, as_sizes, check_slid_over
from jaxvision.ops.winograd import is_winograd_faster, winograd_convolution

_FEW_PIXELS = 4
"""On a CPU a convolution is a matrix product of patches while the patches, ``N H' W'`` rows, are at most this
many times as large as the kernel, ``Cout`` columns: deep layers on small maps, such as VGG's fc6. At 4 a
training step takes 0.7 to 0.95 of the time of the other form; the patches, which it keeps, are 4 kernels.
Where taps meet mostly padding, half as many pixels are few."""

_TAPS_A_GROUP = 8
"""On a CPU a convolution of one channel a group is a sum over the kernel's taps while these, each a part of
the program, are at most this many times the groups; a large kernel of few groups is a few dense convolutions.
The gradient of 2 groups and 3x7x6 taps then compiles in one second instead of sixteen."""

_FEW_MET = 0.55
"""On a CPU a convolution is a sum of products, one a tap, while its taps meet the image, and not the padding,
in at most this share: the atrous convolutions of DeepLab on small maps, then up to 30 times as fast. At a
share of 0.51 it still takes 0.6 of the time, at 0.66 its gradient takes twice as long."""


def convolution(
    x: jax.Array,
    kernel: jax.Array,
    *,
    strides: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> jax.Array:
    """Convolution (cross-correlation), as ``torch.nn.functional.conv1d``, ``conv2d`` and ``conv3d``.

    .. math:: y_{n,i,j,o} = \\sum_{u,v,c} x_{n,\\; s i + d u - p,\\; s j + d v - p,\\; c} \\; k_{u,v,c,o}

    Args:
      x: sequences ``[N, T, Cin]``, images ``[N, H, W, Cin]`` or video ``[N, T, H, W, Cin]``, floating.
      kernel: ``[kt, Cin / groups, Cout]``, ``[kh, kw, Cin / groups, Cout]`` or
        ``[kt, kh, kw, Cin / groups, Cout]``, of the dtype of ``x``. Output channels are in group order.
      strides: step of the window, a number or one an axis.
      padding: zeros around the image: a number, ``(height, width)`` or ``((top, bottom), (left, right))``.
      dilation: distance of neighbouring kernel taps in the image (1 is an ordinary convolution).
      groups: number of independent groups of channels; as many as ``Cin`` is a depthwise convolution.

    Returns:
      ``[N, H', W', Cout]`` in the dtype of ``x``; see :func:`jaxvision.ops.convolution_output_size`.

    Raises:
      ValueError: if shapes do not fit, dtypes differ, or the kernel is larger than the padded image.

    >>> import jax.numpy as jnp
    >>> convolution(jnp.ones((1, 3, 3, 1)), jnp.ones((3, 3, 1, 1)), padding=1)[0, :, :, 0]
    Array([[4., 6., 4.],
           [6., 9., 6.],
           [4., 6., 4.]], dtype=float32)
    """
    rank = _check_operands(x, kernel)
    channels, features = x.shape[-1], kernel.shape[-1]
    if groups < 1 or channels % groups or features % groups or kernel.shape[-2] * groups != channels:
        raise ValueError(
            f"kernel: expected [kh, kw, Cin / groups, Cout] for {channels} input channels in {groups} "
            f"group(s), got {list(kernel.shape)}; its size before the last must be Cin / groups, and groups "
            "must divide Cin and Cout"
        )
    step, spread = as_sizes("strides", strides, rank=rank), as_sizes("dilation", dilation, rank=rank)
    pads = as_padding(padding, rank=rank)
    window = kernel.shape[:-2]
    output = convolution_output_size(x.shape[1:-1], window, strides=step, padding=pads, dilation=spread)
    native = functools.partial(native_convolution, strides=step, padding=pads, dilation=spread, groups=groups)
    cpu = functools.partial(
        _cpu_convolution,
        strides=step,
        padding=pads,
        dilation=spread,
        groups=groups,
        pixels=_count_pixels(x, output),
    )
    return lax.platform_dependent(x, kernel, cpu=cpu, default=native)


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
    """Transposed convolution, as ``torch.nn.functional.conv_transpose1d``, ``2d`` and ``3d``.

    The gradient of :func:`convolution` with respect to its image, read as a layer of its own: each input
    pixel adds its multiple of the kernel to the output, ``strides`` pixels further than its neighbour's.

    .. math:: y_{n,\\; s i + d u - p,\\; s j + d v - p,\\; o} \\mathrel{+}= x_{n,i,j,c} \\; k_{u,v,c,o}

    Args:
      x: sequences ``[N, T, Cin]``, images ``[N, H, W, Cin]`` or video ``[N, T, H, W, Cin]``, floating.
      kernel: ``[kh, kw, Cin, Cout / groups]`` (``[kt, ...]``, ``[kt, kh, kw, ...]``), of the dtype of ``x``:
        a torch weight with its first two axes moved to the end, not flipped.
      strides: how far apart the kernels of neighbouring inputs are laid.
      padding: rows and columns cut off the output: a number, ``(height, width)`` or one a side.
      output_padding: rows and columns added at the bottom and right, below ``max(strides, dilation)``;
        it picks one of the sizes that a strided convolution maps to one.
      dilation: distance of neighbouring kernel taps in the output.
      groups: number of independent groups of channels.

    Returns:
      ``[N, H', W', Cout]`` in the dtype of ``x``; see
      :func:`jaxvision.ops.transposed_convolution_output_size`.

    Raises:
      ValueError: if shapes do not fit, dtypes differ, ``output_padding`` is too large, or nothing is left
        of the output after ``padding`` is cut off.

    >>> import jax.numpy as jnp
    >>> transposed_convolution(jnp.ones((1, 1, 2, 1)), jnp.ones((1, 3, 1, 1)), strides=2)[0, :, :, 0]
    Array([[1., 1., 2., 1., 1.]], dtype=float32)
    """
    rank = _check_operands(x, kernel)
    channels = x.shape[-1]
    if groups < 1 or channels % groups or kernel.shape[-2] != channels:
        raise ValueError(
            f"kernel: expected [kh, kw, Cin, Cout / groups] for {channels} input channels in {groups} "
            f"group(s), got {list(kernel.shape)}; its size before the last must be Cin, and groups must "
            "divide Cin"
        )
    step, spread = as_sizes("strides", strides, rank=rank), as_sizes("dilation", dilation, rank=rank)
    pads = as_padding(padding, rank=rank)
    extra = as_sizes("output_padding", output_padding, rank=rank, least=0)
    transposed_convolution_output_size(
        x.shape[1:-1], kernel.shape[:-2], strides=step, padding=pads, output_padding=extra, dilation=spread
    )
    options: dict[str, Any] = {
        "strides": step,
        "padding": pads,
        "output_padding": extra,
        "dilation": spread,
        "groups": groups,
    }
    return lax.platform_dependent(
        x,
        kernel,
        cpu=functools.partial(_cpu_transposed_convolution, **options),
        default=functools.partial(native_transposed_convolution, **options),
    )


# Both are compiled functions of their own so that equal layers are traced once: groups are unrolled.
@functools.partial(jax.jit, static_argnames=("strides", "padding", "dilation", "groups", "pixels"))
def _cpu_convolution(
    x: jax.Array,
    kernel: jax.Array,
    *,
    strides: Sizes,
    padding: Sequence[Pair],
    dilation: Sizes,
    groups: int,
    pixels: int,
) -> jax.Array:
    """The formulation that is fastest on a CPU (``tests/benchmarks/ops.py``)."""
    *window, channels, features = kernel.shape
    if groups > 1 and channels == 1 and math.prod(window) <= _TAPS_A_GROUP * groups:
        return tap_depthwise_convolution(x, kernel, strides, padding, dilation)
    if groups > 1:
        kernels = jnp.moveaxis(kernel.reshape(*window, channels, groups, features // groups), -2, -3)
        dense = functools.partial(
            _cpu_convolution,
            strides=strides,
            padding=padding,
            dilation=dilation,
            groups=1,
            pixels=pixels,
        )
        return grouped_convolution(x, kernels, dense)
    direct = functools.partial(
        _direct_convolution, strides=strides, padding=padding, dilation=dilation, pixels=pixels
    )
    if is_winograd_faster(kernel, strides, dilation, pixels):
        return winograd_convolution(x, kernel, padding, direct)
    return direct(x, kernel)


def _direct_convolution(
    x: jax.Array,
    kernel: jax.Array,
    *,
    strides: Sizes,
    padding: Sequence[Pair],
    dilation: Sizes,
    pixels: int,
) -> jax.Array:
    """The fastest formulation of one group that multiplies every tap by every pixel that it meets."""
    *window, _, features = kernel.shape
    geometry = (strides, padding, dilation)
    meets_few = max(strides) == 1 and overlap_share(x.shape[1:-1], window, padding, dilation) <= _FEW_MET
    few = _FEW_PIXELS * features // (2 if meets_few else 1)  # half of a patch, or more, would be padding
    if len(window) == 1 or math.prod(window) == 1 or pixels <= few:
        return patch_convolution(x, kernel, *geometry)
    if meets_few:
        return overlap_convolution(x, kernel, padding, dilation)
    if len(window) == 3:
        return stacked_convolution(x, kernel, *geometry)
    return blocked_convolution(x, kernel, *geometry)


@functools.partial(jax.jit, static_argnames=("strides", "padding", "output_padding", "dilation", "groups"))
def _cpu_transposed_convolution(
    x: jax.Array,
    kernel: jax.Array,
    *,
    strides: Sizes,
    padding: Sequence[Pair],
    output_padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> jax.Array:
    """The fastest formulation on a CPU: phases, or at stride 1 a convolution by the flipped kernel."""
    *window, channels, features = kernel.shape
    if groups > 1:
        kernels = kernel.reshape(*window, groups, channels // groups, features)
        dense = functools.partial(
            _cpu_transposed_convolution,
            strides=strides,
            padding=padding,
            output_padding=output_padding,
            dilation=dilation,
            groups=1,
        )
        return grouped_convolution(x, kernels, dense)
    if max(strides) == 1:
        return _unit_transposed_convolution(x, kernel, padding, output_padding, dilation)
    if max(dilation) > 1:
        return native_transposed_convolution(x, kernel, strides, padding, output_padding, dilation, groups=1)
    return phase_transposed_convolution(x, kernel, strides, padding, output_padding)


def _unit_transposed_convolution(
    x: jax.Array, kernel: jax.Array, padding: Sequence[Pair], output_padding: Sizes, dilation: Sizes
) -> jax.Array:
    """At stride 1 a transposed convolution is a convolution by the flipped kernel (one group)."""
    window, ones = kernel.shape[:-2], (1,) * len(dilation)
    reach = [spread * (length - 1) for length, spread in zip(window, dilation, strict=True)]
    around = tuple(
        (far - lo, far - hi + more)
        for far, (lo, hi), more in zip(reach, padding, output_padding, strict=True)
    )
    if min(map(min, around)) < 0:  # the output is cut, by more than what a kernel adds
        return native_transposed_convolution(x, kernel, ones, padding, output_padding, dilation, groups=1)
    output = convolution_output_size(x.shape[1:-1], window, padding=around, dilation=dilation)
    return _cpu_convolution(
        x,
        jnp.flip(kernel, range(len(window))),
        strides=ones,
        padding=around,
        dilation=dilation,
        groups=1,
        pixels=_count_pixels(x, output),
    )


def _count_pixels(x: jax.Array, output: Sizes) -> int:
    """Pixels of a batch of outputs; one of no fixed size, as jax.export has it, counts as one image."""
    return (1 if is_symbolic_dim(x.shape[0]) else x.shape[0]) * math.prod(output)


def _check_operands(x: jax.Array, kernel: jax.Array) -> int:
    """Checks ranks and dtypes; returns the number of axes that the kernel slides over."""
    rank = kernel.ndim - 2
    if rank not in LAYOUTS:
        raise ValueError(
            f"kernel: expected [kh, kw, in, out], [kt, in, out] or [kt, kh, kw, in, out], got "
            f"{list(kernel.shape)}"
        )
    check_slid_over("x", x, rank, cause=f"a kernel of {kernel.ndim} axes slides over")
    check_floating(x=x, kernel=kernel)
    if x.dtype != kernel.dtype:
        raise ValueError(f"kernel: expected the dtype of x ({x.dtype}), got {kernel.dtype}; cast one of them")
    return rank
