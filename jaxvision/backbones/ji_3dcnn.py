"""The 3-D convolutional network of Ji et al. 2013, whose first layer is hard-wired."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax.typing import DTypeLike

from jaxvision.core import check_floating, find_variant
from jaxvision.layers import Conv, lecun_normal
from jaxvision.ops import average_pool, hardwired_channels

JI_3DCNN_VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "ji_3dcnn": {},
        "ji_3dcnn_kth": {
            "frames": 9,
            "size": (60, 80),
            "kernels": ((3, 7, 9), (3, 7, 7)),
            "windows": (3, 3),
            "last_kernel": (4, 6),
        },
    }
)
"""Fields of :func:`ji_3dcnn` by name.

Ji et al. 2013: section 2.2 and figure 3 (7 frames of 60x40, actions of TRECVID), and the experiment on KTH (9
frames, "80x60", kernels "9x7", "7x7" and "6x4", subsampling 3x3). KTH's frames are wider than high, so its
sizes are read as width by height. Its kernels' extent in time is not stated; 3 is the other net's.
"""


class Ji3DCNN(nn.Module):
    """The feature extractor of Ji et al.: hard-wired channels, two 3-D convolutions, one over the whole map.

    Five channels are computed from the frames (gray values, two gradients, two components of the optical
    flow: 33 maps of 7 frames). Each channel has its own kernels in the two 3-D convolutions, which make 2 and
    then 2 x 3 sets of maps of it; the last convolution reads the maps of all channels and moments together.

    Submodules: of each channel ``{channel}_conv1``, ``{channel}_pool1``, ``{channel}_conv2`` and
    ``{channel}_pool2`` (channels are those of :class:`jaxvision.ops.HardwiredChannels`), and ``conv3``.

    Attributes:
      frames: number of frames T.
      size: ``(height, width)`` of the frames.
      kernels: ``(time, height, width)`` of the first two convolutions.
      windows: side of the subsamplings behind them.
      last_kernel: ``(height, width)`` of the last convolution; by default it leaves a single pixel.
      sets: number of sets of maps of a channel after each of the first two convolutions; the second is a
        multiple of the first.
      features: number of features of the last convolution.
      dtype: dtype of the computation behind the hard-wired layer; parameters stay float32.

    References:
      Ji, Xu, Yang and Yu 2013, *3D Convolutional Neural Networks for Human Action Recognition*, section 2.2
      and figure 3, where C2 is ``conv1``, S3 ``pool1``, C4 ``conv2``, S5 ``pool2`` and C6 ``conv3``. Its
      number of parameters for three actions, 295,458, is 1,480 (C2) + 92 (S3) + 3,810 (C4) + 156 (S5) +
      128 x 78 x (7 x 4 + 1) (C6) + 128 x 3 (output). From that sum, not from its words, follow a factor and a
      bias of each subsampled map, as in LeNet-5, and an output layer without bias. One deviation: C6 is
      counted with a bias for each pair of an input and an output map; here the 78 that would be added up in
      an output map are one, which makes 285,602 parameters. The paper names no nonlinearity but tanh
      (equation 1); as in LeNet-5 it follows the subsamplings too. "Initialized randomly" is
      :func:`jaxvision.layers.lecun_normal` here.
    """

    frames: int = 7
    size: tuple[int, int] = (60, 40)
    kernels: tuple[tuple[int, int, int], tuple[int, int, int]] = ((3, 7, 7), (3, 7, 6))
    windows: tuple[int, int] = (2, 3)
    last_kernel: tuple[int, int] = (7, 4)
    sets: tuple[int, int] = (2, 6)
    features: int = 128
    dtype: DTypeLike | None = None

    @property
    def channels(self) -> dict[str, int]:
        """Number of maps of each layer: ``{"c1": 46, "c2": 78, "c3": 128}``."""
        maps = {}
        cut = 0
        for level, (kernel, sets) in enumerate(zip(self.kernels, self.sets, strict=True), start=1):
            cut += kernel[0] - 1
            moments = 3 * (self.frames - cut) + 2 * (self.frames - 1 - cut)  # the flow has a frame less
            maps[f"c{level}"] = moments * sets
        return {**maps, "c3": self.features}

    @property
    def strides(self) -> dict[str, int]:
        """Distance in pixels of neighbouring entries of each layer: ``{"c1": 2, "c2": 6, "c3": 6}``."""
        first, second = self.windows
        return {"c1": first, "c2": first * second, "c3": first * second}

    @property
    def temporal_strides(self) -> dict[str, int]:
        """Distance in frames of neighbouring moments, all 1: time is shortened by unpadded kernels only."""
        return dict.fromkeys(("c1", "c2", "c3"), 1)

    @nn.compact
    def __call__(self, clips: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Computes the maps of both subsamplings and the features.

        Args:
          clips: ``[N, T, H, W, 1]`` gray or ``[N, T, H, W, 3]`` red, green and blue, floating, in [0, 1]; of
            exactly ``frames`` and ``size``.
          train: not used: nothing here differs in training.

        Returns:
          ``{"c1": [N, 27, 17, 46], "c2": [N, 7, 4, 78], "c3": [N, 1, 1, 128]}``: images whose channels are
          the maps, in the paper's order of its channels, then by time, then by set.

        Raises:
          ValueError: for another shape or dtype, or kernels that do not fit the size.
        """
        del train
        check_floating(clips=clips)
        wanted = (self.frames, *self.size)
        if clips.ndim != 5 or clips.shape[1:4] != wanted or clips.shape[4] not in (1, 3):
            raise ValueError(
                f"clips: expected [N, {', '.join(map(str, wanted))}, 1 or 3], got {list(clips.shape)}; the "
                "last convolution reads maps of one size: choose that many frames and resize them"
            )
        channels = hardwired_channels(clips)
        maps: tuple[list[jax.Array], list[jax.Array]] = ([], [])
        for name, x in channels._asdict().items():
            groups = 1
            for level, (kernel, window, sets) in enumerate(
                zip(self.kernels, self.windows, self.sets, strict=True)
            ):
                x = nn.tanh(self._conv(sets, kernel, f"{name}_conv{level + 1}", groups)(x))
                x = Subsampling(window, dtype=self.dtype, name=f"{name}_pool{level + 1}")(x)
                maps[level].append(_as_image(x))
                groups = sets
        first, second = (jnp.concatenate(parts, axis=-1) for parts in maps)  # [N, H', W', maps]
        last = nn.tanh(self._conv(self.features, self.last_kernel, "conv3", 1)(second))  # [N, 1, 1, features]
        return {"c1": first, "c2": second, "c3": last}

    def _conv(self, features: int, kernel: tuple[int, ...], name: str, groups: int) -> Conv:
        return Conv(features, kernel, groups=groups, kernel_init=lecun_normal, dtype=self.dtype, name=name)


def _as_image(x: jax.Array) -> jax.Array:
    """Moments and sets as channels: ``[N, T, H, W, C]`` to ``[N, H, W, T C]``."""
    number, time, height, width, channels = x.shape
    return x.transpose(0, 2, 3, 1, 4).reshape(number, height, width, time * channels)


class Subsampling(nn.Module):
    """Means of windows that do not overlap, times a factor, plus a bias, through tanh.

    Parameters, float32: ``scale`` and ``bias`` ``[T, C]``, one of each for every map of a clip.

    Attributes:
      window: side of the windows.
      dtype: dtype of the computation and the result; by default that of the input and the parameters.

    References:
      LeCun et al. 1998, *Gradient-Based Learning Applied to Document Recognition*, section II.B, which takes
      the sum of a window; the factor makes up for that.
    """

    window: int
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[N, T, H, W, C]`` to ``[N, T, H / window, W / window, C]``, rounded down.

        Raises:
          ValueError: if ``x`` is no video or smaller than a window.
        """
        x = average_pool(x, (1, self.window, self.window))
        time, channels = x.shape[1], x.shape[-1]
        scale = self.param("scale", nn.initializers.ones_init(), (time, channels), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros_init(), (time, channels), jnp.float32)
        x, scale, bias = promote_dtype(x, scale, bias, dtype=self.dtype)
        shape = (1, time, 1, 1, channels)
        return nn.tanh(x * scale.reshape(shape) + bias.reshape(shape))


class Ji3DClassifier(nn.Module):
    """A linear layer without bias on the features of :class:`Ji3DCNN`.

    Submodules: ``backbone``, ``head``.

    Attributes:
      backbone: module that maps clips to a dict with ``"c3"`` of one pixel.
      num_classes: number of classes K; 3 are the paper's actions of TRECVID.
      dtype: dtype of the computation.

    References:
      Ji et al. 2013, section 2.2: "we essentially apply a linear classifier on the 128D feature vector".
    """

    backbone: nn.Module
    num_classes: int = 3
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, clips: jax.Array, *, train: bool) -> jax.Array:
        """Maps clips ``[N, T, H, W, C]`` to logits ``[N, K]``, float32.

        Raises:
          ValueError: as the backbone.
        """
        x = self.backbone(clips, train=train)["c3"]
        x = x.squeeze((1, 2))  # [N, features]
        head = nn.Dense(
            self.num_classes, use_bias=False, kernel_init=lecun_normal, dtype=self.dtype, name="head"
        )
        return head(x).astype(jnp.float32)  # [N, K]


def ji_3dcnn(variant: str, **overrides: Any) -> Ji3DCNN:
    """Builds the feature extractor of Ji et al. by name.

    Args:
      variant: a key of :data:`JI_3DCNN_VARIANTS`.
      **overrides: fields of :class:`Ji3DCNN` to set or replace.

    Returns:
      The module, without parameters.

    Raises:
      ValueError: for an unknown variant.

    >>> ji_3dcnn("ji_3dcnn").channels
    {'c1': 46, 'c2': 78, 'c3': 128}
    """
    fields = find_variant("variant of Ji's 3-D network", variant, JI_3DCNN_VARIANTS)
    return Ji3DCNN(**{**fields, **overrides})
