"""Images as patches and back: sliding patches, blocks of pixels as channels, and tokens.

All are rearrangements. They differ in whether patches may overlap (:func:`unfold`) and in the order of the
channels: a block's pixels before its channels, ``(bh, bw, C)``, as in TensorFlow, or its channels before its
pixels, ``(C, bh, bw)``, as in PyTorch's pixel shuffle.
"""

import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxvision.core import check_layout
from jaxvision.ops.arithmetic import convolution_output_size
from jaxvision.ops.formulations import kernel_taps
from jaxvision.ops.windows import (
    LAYOUTS,
    Padding,
    Pair,
    Size,
    Sizes,
    as_padding,
    as_sizes,
    check_slid_over,
    window_rank,
)


def unfold(
    x: jax.Array, kernel_size: Size, *, strides: Size = 1, padding: Padding = 0, dilation: Size = 1
) -> jax.Array:
    """The patches under a sliding window, as ``torch.nn.functional.unfold``, kept as an image.

    A convolution is the matrix product of these patches with ``kernel.reshape(-1, Cout)``.

    Args:
      x: images ``[N, H, W, C]``, sequences ``[N, T, C]`` or video ``[N, T, H, W, C]``, of any dtype.
      kernel_size: size of the patches, a number for images or one number an axis.
      strides: step of the window.
      padding: zeros around the image.
      dilation: distance of neighbouring pixels of a patch.

    Returns:
      ``[N, H', W', kh * kw * C]``, the last axis in the order ``(kh, kw, C)``. PyTorch has ``[N, C * kh *
      kw, H' * W']``: reshape to ``[N, H' * W', kh * kw, C]`` and transpose by ``(0, 3, 2, 1)`` for its order.

    Raises:
      ValueError: if ``x`` has another rank than ``kernel_size`` asks for, or the dilated patch is larger
        than the padded image.

    >>> unfold(jnp.arange(6.0).reshape(1, 2, 3, 1), 2)[0, 0]
    Array([[0., 1., 3., 4.],
           [1., 2., 4., 5.]], dtype=float32)
    """
    rank = window_rank("kernel_size", kernel_size)
    check_slid_over("x", x, rank, cause=f"the patch {kernel_size} slides over")
    window = as_sizes("kernel_size", kernel_size, rank=rank)
    step, spread = as_sizes("strides", strides, rank=rank), as_sizes("dilation", dilation, rank=rank)
    pads = as_padding(padding, rank=rank)
    convolution_output_size(x.shape[1:-1], window, strides=step, padding=pads, dilation=spread)
    return jnp.concatenate(kernel_taps(x, window, step, pads, spread), -1)


def fold(
    patches: jax.Array,
    output_size: Size,
    kernel_size: Size,
    *,
    strides: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
) -> jax.Array:
    """Lays patches out over an image and sums where they overlap, as ``torch.nn.functional.fold``.

    It is the transpose (not the inverse) of :func:`unfold`: divide by ``fold(unfold(ones))`` for the mean.

    Args:
      patches: ``[N, H', W', kh * kw * C]`` as :func:`unfold` gives them for an image of ``output_size``.
      output_size: ``(height, width)`` of the image, or a number for a square one.
      kernel_size: size of the patches.
      strides: step of the window.
      padding: rows and columns around the image that are cut off.
      dilation: distance of neighbouring pixels of a patch.

    Returns:
      ``[N, *output_size, C]`` in the dtype of ``patches``.

    Raises:
      ValueError: if the patches are not as many as the window has positions, or their last size is no
        multiple of the number of pixels of a patch.

    >>> fold(jnp.ones((1, 2, 2, 4)), 3, 2)[0, :, :, 0]
    Array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]], dtype=float32)
    """
    rank = window_rank("kernel_size", kernel_size, output_size)
    window, size = (as_sizes(*pair, rank=rank) for pair in _named(kernel_size, output_size))
    step, spread = as_sizes("strides", strides, rank=rank), as_sizes("dilation", dilation, rank=rank)
    pads = as_padding(padding, rank=rank)
    output = convolution_output_size(size, window, strides=step, padding=pads, dilation=spread)
    pixels = math.prod(window)
    check_layout("patches", patches, LAYOUTS[rank], remedy="the patches lie as the image does")
    if patches.shape[1:-1] != output or patches.shape[-1] % pixels:
        raise ValueError(
            f"patches: expected [N, {', '.join(map(str, output))}, {pixels} * C] for patches {list(window)} "
            f"of an image {list(size)}, got {list(patches.shape)}"
        )
    # [N, H', W', kh, kw, C]
    x = patches.reshape(*patches.shape[:-1], *window, patches.shape[-1] // pixels)
    for axis in range(rank, 0, -1):
        along = zip(size, window, step, pads, spread, strict=True)
        x = _fold_axis(x, axis, axis + rank, *list(along)[axis - 1])
    return x


def space_to_depth(x: jax.Array, block_size: Size) -> jax.Array:
    """Blocks of pixels as channels, as ``tf.nn.space_to_depth``: channels in the order ``(bh, bw, C)``.

    Args:
      x: images ``[N, H, W, C]`` of any dtype; the block divides the image.
      block_size: a number or ``(height, width)``.

    Returns:
      ``[N, H / bh, W / bw, bh * bw * C]``. :func:`pixel_unshuffle` has the channels in PyTorch's order.

    Raises:
      ValueError: if ``x`` is not a batch of images or the block does not divide it.

    >>> space_to_depth(jnp.arange(8.0).reshape(1, 2, 2, 2), 2).ravel()
    Array([0., 1., 2., 3., 4., 5., 6., 7.], dtype=float32)
    """
    blocks = _blocks(x, as_sizes("block_size", block_size))  # [N, H / bh, W / bw, bh, bw, C]
    return blocks.reshape(*blocks.shape[:3], math.prod(blocks.shape[3:]))


def depth_to_space(x: jax.Array, block_size: Size) -> jax.Array:
    """Channels as blocks of pixels, as ``tf.nn.depth_to_space``: the inverse of :func:`space_to_depth`.

    Args:
      x: images ``[N, H, W, bh * bw * C]`` of any dtype, channels in the order ``(bh, bw, C)``.
      block_size: a number or ``(height, width)``.

    Returns:
      ``[N, H * bh, W * bw, C]``. :func:`pixel_shuffle` reads channels in PyTorch's order.

    Raises:
      ValueError: if ``x`` is not a batch of images or the block does not divide the channels.

    >>> depth_to_space(jnp.arange(4.0).reshape(1, 1, 1, 4), 2)[0, :, :, 0]
    Array([[0., 1.],
           [2., 3.]], dtype=float32)
    """
    block = _channel_block(x, block_size)
    return _join_blocks(x.reshape(*x.shape[:3], *block, x.shape[-1] // math.prod(block)))


def pixel_unshuffle(x: jax.Array, block_size: Size) -> jax.Array:
    """Blocks of pixels as channels, as ``torch.nn.functional.pixel_unshuffle``: order ``(C, bh, bw)``.

    Args:
      x: images ``[N, H, W, C]`` of any dtype; the block divides the image.
      block_size: a number or ``(height, width)``.

    Returns:
      ``[N, H / bh, W / bw, C * bh * bw]``. :func:`space_to_depth` is the same with another order of
      channels, and faster where the order does not matter.

    Raises:
      ValueError: if ``x`` is not a batch of images or the block does not divide it.

    >>> pixel_unshuffle(jnp.arange(8.0).reshape(1, 2, 2, 2), 2).ravel()
    Array([0., 2., 4., 6., 1., 3., 5., 7.], dtype=float32)
    """
    blocks = jnp.moveaxis(_blocks(x, as_sizes("block_size", block_size)), -1, 3)
    return blocks.reshape(*blocks.shape[:3], math.prod(blocks.shape[3:]))


def pixel_shuffle(x: jax.Array, block_size: Size) -> jax.Array:
    """Channels as blocks of pixels, as ``torch.nn.functional.pixel_shuffle``: sub-pixel upsampling.

    Args:
      x: images ``[N, H, W, C * bh * bw]`` of any dtype, channels in the order ``(C, bh, bw)``.
      block_size: a number or ``(height, width)``.

    Returns:
      ``[N, H * bh, W * bw, C]``, the inverse of :func:`pixel_unshuffle`.

    Raises:
      ValueError: if ``x`` is not a batch of images or the block does not divide the channels.

    References:
      Shi et al. 2016, *Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
      Convolutional Neural Network*, equation 4, with the channels as PyTorch has them.

    >>> pixel_shuffle(jnp.arange(4.0).reshape(1, 1, 1, 4), 2)[0, :, :, 0]
    Array([[0., 1.],
           [2., 3.]], dtype=float32)
    """
    block = _channel_block(x, block_size)
    split = x.reshape(*x.shape[:3], x.shape[-1] // math.prod(block), *block)  # [N, H, W, C, bh, bw]
    return _join_blocks(jnp.moveaxis(split, 3, -1))


def extract_patches(x: jax.Array, patch_size: Size) -> jax.Array:
    """An image as a sequence of its patches, the tokens of a vision transformer.

    Args:
      x: images ``[N, H, W, C]``, sequences ``[N, T, C]`` or video ``[N, T, H, W, C]``, of any dtype; the
        patch divides them.
      patch_size: a number for images or one number an axis (``(2, 16, 16)``: tubelets of a video).

    Returns:
      ``[N, (H / ph) * (W / pw), ph * pw * C]``: patches in row-major order, pixels in the order ``(ph, pw,
      C)``.

    Raises:
      ValueError: if ``x`` has another rank than ``patch_size`` asks for, or the patch does not divide it.

    References:
      Dosovitskiy et al. 2021, *An Image is Worth 16x16 Words*, section 3.1, equation 1.

    >>> extract_patches(jnp.arange(8.0).reshape(1, 2, 4, 1), 2)
    Array([[[0., 1., 4., 5.],
            [2., 3., 6., 7.]]], dtype=float32)
    """
    rank = window_rank("patch_size", patch_size)
    blocks = _blocks(x, as_sizes("patch_size", patch_size, rank=rank))  # [N, H / ph, W / pw, ph, pw, C]
    shape = blocks.shape
    return blocks.reshape(shape[0], math.prod(shape[1 : 1 + rank]), math.prod(shape[1 + rank :]))


def assemble_patches(patches: jax.Array, output_size: Size, patch_size: Size) -> jax.Array:
    """The image of a sequence of patches: the inverse of :func:`extract_patches`.

    Args:
      patches: ``[N, (H / ph) * (W / pw), ph * pw * C]`` of any dtype.
      output_size: ``(height, width)`` of the image, or a number for a square one.
      patch_size: a number for images or one number an axis; it divides ``output_size``.

    Returns:
      ``[N, *output_size, C]``.

    Raises:
      ValueError: if the patch does not divide the image, or there are not as many patches as fit.

    >>> assemble_patches(jnp.arange(8.0).reshape(1, 2, 4), (2, 4), 2)[0, :, :, 0]
    Array([[0., 1., 4., 5.],
           [2., 3., 6., 7.]], dtype=float32)
    """
    rank = window_rank("patch_size", patch_size, output_size)
    patch, size = (as_sizes(*pair, rank=rank) for pair in _named(patch_size, output_size, "patch_size"))
    check_layout("patches", patches, "N P D", remedy="patches are [N, patches, pixels * C]")
    _check_divides("output_size", size, patch)
    grid = [n // p for n, p in zip(size, patch, strict=True)]
    count, pixels = math.prod(grid), math.prod(patch)
    if patches.shape[1] != count or patches.shape[2] % pixels:
        raise ValueError(
            f"patches: expected [N, {count}, {pixels} * C] for patches {list(patch)} of an image "
            f"{list(size)}, got {list(patches.shape)}"
        )
    return _join_blocks(patches.reshape(patches.shape[0], *grid, *patch, patches.shape[2] // pixels))


def _named(window: Size, output_size: Size, name: str = "kernel_size") -> tuple[tuple[str, Size], ...]:
    return (name, window), ("output_size", output_size)


def _check_divides(name: str, size: Sequence[int], block: Sizes) -> None:
    if any(n % b for n, b in zip(size, block, strict=True)):
        raise ValueError(
            f"{name}: expected multiples of the block {list(block)}, got {list(size)}; crop, pad or resize"
        )


def _blocks(x: jax.Array, block: Sizes) -> jax.Array:
    """Cuts an image into blocks, ``[N, H / bh, W / bw, bh, bw, C]``."""
    rank = len(block)
    check_slid_over("x", x, rank, cause=f"the block {list(block)} cuts")
    size = x.shape[1:-1]
    _check_divides("x", size, block)
    grid = [n // b for n, b in zip(size, block, strict=True)]
    split = x.reshape(x.shape[0], *itertools.chain(*zip(grid, block, strict=True)), x.shape[-1])
    inner = range(2, 2 * rank + 1, 2)
    return split.transpose(0, *range(1, 2 * rank, 2), *inner, 2 * rank + 1)


def _join_blocks(blocks: jax.Array) -> jax.Array:
    """Joins blocks ``[N, H, W, bh, bw, C]`` to an image ``[N, H bh, W bw, C]``."""
    rank = blocks.ndim // 2 - 1
    grid, block = blocks.shape[1 : 1 + rank], blocks.shape[1 + rank : -1]
    order = itertools.chain(*((1 + axis, 1 + rank + axis) for axis in range(rank)))
    joined = blocks.transpose(0, *order, 2 * rank + 1)  # [N, H, bh, W, bw, C]
    size = (n * b for n, b in zip(grid, block, strict=True))
    return joined.reshape(blocks.shape[0], *size, blocks.shape[-1])


def _channel_block(x: jax.Array, block_size: Size) -> Sizes:
    """Reads the size of a block that is laid out over channels."""
    block = as_sizes("block_size", block_size)
    check_layout("x", x, "N H W C", remedy="images are [N, H, W, C]")
    if x.shape[-1] % math.prod(block):
        raise ValueError(
            f"block_size: {list(block)} has {math.prod(block)} pixels, which do not divide the "
            f"{x.shape[-1]} channels"
        )
    return block


def _fold_axis(
    x: jax.Array,
    axis: int,
    taps_axis: int,
    size: int,
    window: int,
    stride: int,
    padding: Pair,
    dilation: int,
) -> jax.Array:
    """Folds one axis: positions ``axis`` and taps ``taps_axis`` become ``size`` pixels of ``axis``.

    Tap ``u`` of position ``q`` lies at pixel ``s q + d u`` of the padded axis: at place ``q + d u // s``
    of phase ``d u % s``. So every phase sums its taps with shifts alone, and the phases interleave. That is
    several times faster on a CPU than to add up dilated images.
    """
    count = x.shape[axis]
    offsets = [(divmod(dilation * tap, stride), tap) for tap in range(window)]
    length = count + max(shift for (shift, _), _ in offsets)
    length = max(length, -(-(size + sum(padding)) // stride))
    phases = []
    for phase in range(stride):
        total = None
        for (shift, at), tap in offsets:
            if at == phase:
                one = jax.lax.index_in_dim(x, tap, taps_axis, keepdims=False)
                pads = [(0, 0, 0)] * one.ndim
                pads[axis] = (shift, length - count - shift, 0)
                laid = jax.lax.pad(one, jnp.zeros((), x.dtype), pads)
                total = laid if total is None else total + laid
        if total is None:
            shape = [n for place, n in enumerate(x.shape) if place != taps_axis]
            shape[axis] = length
            total = jnp.zeros(shape, x.dtype)
        phases.append(total)
    y = phases[0] if stride == 1 else jnp.stack(phases, axis + 1)
    y = y.reshape(*x.shape[:axis], length * stride, *y.shape[axis + 1 + (stride > 1) :])
    return jax.lax.slice_in_dim(y, padding[0], padding[0] + size, axis=axis)
