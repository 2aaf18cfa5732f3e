"""The hard-wired first layer of a 3-D convolutional network, and the optical flow that it holds."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxvision.core import check_floating, check_layout
from jaxvision.ops.pooling import average_pool

_LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the brightness of a pixel, ITU-R BT.601."""


class HardwiredChannels(NamedTuple):
    """What :func:`hardwired_channels` computes of ``T`` frames.

    Attributes:
      gray: ``[N, T, H, W, 1]``, the brightness.
      gradient_x: ``[N, T, H, W, 1]``, its derivative along a row, to the right.
      gradient_y: ``[N, T, H, W, 1]``, its derivative along a column, downwards.
      flow_x: ``[N, T - 1, H, W, 1]``, pixels to the right from a frame to the next.
      flow_y: ``[N, T - 1, H, W, 1]``, pixels downwards from a frame to the next.
    """

    gray: jax.Array
    gradient_x: jax.Array
    gradient_y: jax.Array
    flow_x: jax.Array
    flow_y: jax.Array


def hardwired_channels(
    frames: jax.Array, *, window: int = 5, regularization: float = 1e-5
) -> HardwiredChannels:
    """Gray values, spatial gradients and optical flow of video: five channels of fixed features.

    Gradients are central differences, half the difference of a pixel's two neighbours; at the border the
    pixel itself stands for the neighbour that is missing. The flow is :func:`lucas_kanade_flow`'s.

    Args:
      frames: video ``[N, T, H, W, 1]`` gray or ``[N, T, H, W, 3]`` red, green and blue, floating.
      window: as :func:`lucas_kanade_flow`.
      regularization: as :func:`lucas_kanade_flow`.

    Returns:
      :class:`HardwiredChannels` in the dtype of ``frames``; :func:`stack_hardwired` lays them side by side.

    Raises:
      ValueError: if ``frames`` is no video of one or three channels, or the window is even.

    References:
      Ji et al. 2013, *3D Convolutional Neural Networks for Human Action Recognition*, section 2.2, which
      names neither the kernels of the gradients nor the algorithm of the flow.

    >>> channels = hardwired_channels(jnp.zeros((1, 7, 60, 40, 3)))
    >>> sum(channel.shape[1] for channel in channels)
    33
    """
    check_layout("frames", frames, "N T H W C", remedy="video is [N, T, H, W, C]")
    check_floating(frames=frames)
    if frames.shape[-1] not in (1, 3):
        raise ValueError(
            f"frames: expected 1 or 3 channels, got {list(frames.shape)}; give gray values or RGB"
        )
    gray = frames if frames.shape[-1] == 1 else frames @ jnp.asarray(_LUMA, frames.dtype)[:, None]
    flow = lucas_kanade_flow(gray, window=window, regularization=regularization)
    return HardwiredChannels(
        gray, _central_difference(gray, 3), _central_difference(gray, 2), flow[..., :1], flow[..., 1:]
    )


def stack_hardwired(channels: HardwiredChannels) -> jax.Array:
    """The maps of all channels in the paper's order: gray, gradient-x, gradient-y, flow-x, flow-y.

    Args:
      channels: of ``T`` frames.

    Returns:
      ``[N, H, W, 5 T - 2]``: 33 maps of 7 frames, each channel's in the order of time.

    >>> stack_hardwired(hardwired_channels(jnp.zeros((2, 7, 60, 40, 1)))).shape
    (2, 60, 40, 33)
    """
    return jnp.moveaxis(jnp.concatenate(channels, axis=1)[..., 0], 1, -1)  # [N, H, W, 5 T - 2]


def lucas_kanade_flow(frames: jax.Array, *, window: int = 5, regularization: float = 1e-5) -> jax.Array:
    """Optical flow between adjacent frames by least squares over a window around each pixel.

    A pattern that moves keeps its brightness, so the flow ``v`` fulfils ``g . v = -d`` with the spatial
    gradient ``g`` and the change in time ``d``. The least squares solution over a window has a closed form:

    .. math:: v = - \\left( \\overline{g g^T} + \\lambda I \\right)^{-1} \\, \\overline{g d}

    Bars are means over the window's pixels within the image; ``g`` is the mean of the gradients of both
    frames (central differences, as :func:`hardwired_channels`). It is differentiable everywhere, exactly 0
    between equal frames, and near 0 where there is nothing to see. It is meant for motions of about a pixel:
    the equation is linear in ``v``, and there is no pyramid and no iteration.

    Args:
      frames: gray video ``[N, T, H, W, 1]``, floating.
      window: odd width of the square window.
      regularization: ``lambda``, positive, in squared gray values a pixel. The default suits gray values in
        [0, 1]; for another range scale it by the square of the range. More means a smaller and calmer flow.

    Returns:
      ``[N, T - 1, H, W, 2]`` in the dtype of ``frames``: pixels to the right and downwards. It is computed in
      float32 at least.

    Raises:
      ValueError: if ``frames`` is no gray video, ``window`` is even or ``regularization`` not positive.

    References:
      Lucas and Kanade 1981, *An Iterative Image Registration Technique with an Application to Stereo Vision*:
      one step of it in two dimensions, with a ridge, which is a Gaussian prior of the flow (Simoncelli et al.
      1991, *Probability Distributions of Optical Flow*).

    >>> x = jnp.arange(16.0)
    >>> frames = jnp.stack([jnp.sin(0.4 * x), jnp.sin(0.4 * (x - 0.5))])[None, :, None, :, None]
    >>> lucas_kanade_flow(frames)[0, 0, 0, 8, 0].round(1)
    Array(0.5, dtype=float32)
    """
    check_layout("frames", frames, "N T H W 1", remedy="the flow is of gray video")
    check_floating(frames=frames)
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window: expected an odd number of pixels, got {window}; its middle is a pixel")
    if not regularization > 0:
        raise ValueError(
            f"regularization: expected a positive number, got {regularization}; without it the flow of an "
            "even area is not defined"
        )
    wide = frames.astype(jnp.promote_types(frames.dtype, jnp.float32))
    both = (wide[:, 1:] + wide[:, :-1]) / 2
    right, down = _central_difference(both, 3), _central_difference(both, 2)
    change = wide[:, 1:] - wide[:, :-1]  # [N, T - 1, H, W, 1]
    products = jnp.concatenate(
        [right * right, right * down, down * down, right * change, down * change], axis=-1
    )
    number, pairs, *size, count = products.shape
    means = average_pool(
        products.reshape(number * pairs, *size, count),
        window,
        strides=1,
        padding=window // 2,
        count_include_pad=False,
    ).reshape(products.shape)
    xx, xy, yy, xt, yt = (means[..., index] for index in range(count))
    xx, yy = xx + regularization, yy + regularization
    flow = jnp.stack([xy * yt - yy * xt, xy * xt - xx * yt], -1)  # Cramer's rule
    return (flow / (xx * yy - xy * xy)[..., None]).astype(frames.dtype)


def _central_difference(x: jax.Array, axis: int) -> jax.Array:
    """Half the difference of both neighbours along an axis; the border is its own neighbour."""
    size = x.shape[axis]
    padded = jnp.pad(x, [(int(a == axis), int(a == axis)) for a in range(x.ndim)], mode="edge")
    after = jax.lax.slice_in_dim(padded, 2, size + 2, axis=axis)
    before = jax.lax.slice_in_dim(padded, 0, size, axis=axis)
    return (after - before) / 2
