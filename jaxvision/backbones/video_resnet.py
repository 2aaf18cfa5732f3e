"""R3D, MC3 and R(2+1)D (Tran et al. 2018): ResNet-18 for clips, by three ways to convolve over time."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax
from jax.typing import DTypeLike

from jaxvision.core import check_floating, check_layout, find_variant
from jaxvision.layers import BatchNorm, Conv, he_normal_fan_out

VIDEO_RESNET_VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "r3d_18": {"convolutions": ("3d", "3d", "3d", "3d")},
        "mc3_18": {"convolutions": ("3d", "2d", "2d", "2d")},
        "r2plus1d_18": {"convolutions": ("2+1d", "2+1d", "2+1d", "2+1d"), "stem_middle_features": 45},
    }
)
"""Fields of :func:`video_resnet` by name.

Tran et al. 2018, figure 1 and table 1; the names are torchvision's. MC3 is 2-D from the paper's third group
of convolutions on, of which the stem is the first.
"""
_KINDS = ("3d", "2d", "2+1d")


class VideoResNet(nn.Module):
    """The convolutional part of a ResNet for clips.

    Submodules: ``stem_conv``, ``stem_norm`` (and ``stem_temporal_conv``, ``stem_temporal_norm`` of a stem in
    two steps) and ``stage{s}_block{i}``, stages counted from 1 and blocks from 0. The stem is a 3x7x7
    convolution that halves height and width, without pooling; the first block of each stage but the first
    halves them again, and the frames with them unless its convolutions are ``"2d"``.

    Attributes:
      convolutions: kind of each stage's convolutions: ``"3d"`` is 3x3x3; ``"2d"`` is 1x3x3, each frame on its
        own; ``"2+1d"`` is 1x3x3, a normalisation and ReLU, and 3x1x1.
      blocks: number of blocks in each stage.
      features: number of output channels of each stage.
      stem_features: number of channels of the stem.
      stem_middle_features: channels between the stem's 1x7x7 and 3x1x1 convolutions; None leaves it one
        convolution of 3x7x7.
      norm: makes a normalisation from ``dtype`` and ``name``, such as ``BatchNorm`` or
        ``functools.partial(BatchNorm, axis_name="data")``.
      dtype: dtype of the computation; parameters and statistics stay float32.
    """

    convolutions: tuple[str, ...] = ("3d", "3d", "3d", "3d")
    blocks: tuple[int, ...] = (2, 2, 2, 2)
    features: tuple[int, ...] = (64, 128, 256, 512)
    stem_features: int = 64
    stem_middle_features: int | None = None
    norm: Callable[..., nn.Module] = BatchNorm
    dtype: DTypeLike | None = None

    @property
    def channels(self) -> dict[str, int]:
        """Number of channels of each feature map: ``{"c1": 64, ..., "c5": 512}``."""
        return {f"c{level}": width for level, width in enumerate((self.stem_features, *self.features), 1)}

    @property
    def strides(self) -> dict[str, int]:
        """Stride of each feature map's height and width against the clip's: 2, 2, 4, 8, 16."""
        return {f"c{level}": 2 ** max(level - 1, 1) for level in range(1, len(self.features) + 2)}

    @property
    def temporal_strides(self) -> dict[str, int]:
        """Stride of each feature map's time against the frames: 1, 1, 2, 4, 8, or all 1 of ``mc3_18``."""
        strides = {"c1": 1}
        for stage, kind in enumerate(self.convolutions, start=1):
            step = 1 if stage == 1 or kind == "2d" else 2
            strides[f"c{stage + 1}"] = step * strides[f"c{stage}"]
        return strides

    @nn.compact
    def __call__(self, clips: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Computes the features of the stem and of each stage.

        Args:
          clips: ``[N, T, H, W, C]``, floating, normalised, with at least one frame and pixel.
          train: whether normalisation uses, and updates, the statistics of this batch.

        Returns:
          ``{"c1": [N, T, H/2, W/2, 64], ..., "c5": [N, T/8, H/16, W/16, 512]}``, sizes rounded up: the stem
          and the four stages; strides are those of the properties.

        Raises:
          ValueError: for another shape or dtype of clips, an unknown kind of convolution, or
            ``convolutions``, ``blocks`` and ``features`` of unequal length.
        """
        check_layout("clips", clips, "N T H W C", remedy="clips are a batch, frames first, channels last")
        check_floating(clips=clips)
        self._check(clips)
        x = self._stem(clips, train)  # [N, T, H / 2, W / 2, C1]
        outputs = {"c1": x}
        stages = zip(self.convolutions, self.blocks, self.features, strict=True)
        for stage, (kind, count, width) in enumerate(stages, start=1):
            for index in range(count):
                x = VideoBlock(
                    width,
                    kind,
                    strides=2 if stage > 1 and index == 0 else 1,
                    norm=self.norm,
                    dtype=self.dtype,
                    name=f"stage{stage}_block{index}",
                )(x, train=train)  # [N, T', H', W', width]
            outputs[f"c{stage + 1}"] = x
        return outputs

    def _stem(self, x: jax.Array, train: bool) -> jax.Array:
        middle = self.stem_middle_features
        # (name, features, kernel size, strides) of each step
        steps = [("stem", self.stem_features, (3, 7, 7), (1, 2, 2))]
        if middle is not None:
            steps = [
                ("stem", middle, (1, 7, 7), (1, 2, 2)),
                ("stem_temporal", self.stem_features, (3, 1, 1), (1, 1, 1)),
            ]
        for name, features, size, strides in steps:
            x = _convolution(features, size, strides, f"{name}_conv", self.dtype)(x)
            x = nn.relu(self.norm(dtype=self.dtype, name=f"{name}_norm")(x, train=train))
        return x

    def _check(self, clips: jax.Array) -> None:
        if min(clips.shape[1:4]) < 1:
            raise ValueError(
                f"clips: expected at least one frame and one pixel, got {list(clips.shape)}; an empty clip "
                "has no features"
            )
        unknown = [kind for kind in self.convolutions if kind not in _KINDS]
        if unknown:
            raise ValueError(f"convolutions: expected kinds out of {_KINDS}, got {unknown}")
        if not len(self.convolutions) == len(self.blocks) == len(self.features):
            raise ValueError(
                "convolutions, blocks and features: expected one entry a stage in each, got "
                f"{self.convolutions}, {self.blocks} and {self.features}; make them equally long"
            )


class VideoBlock(nn.Module):
    """Two convolutions of one kind and a shortcut: the block of ResNet-18 for clips.

    Submodules: ``conv1``, ``norm1``, ``conv2``, ``norm2``; ``shortcut_conv``, ``shortcut_norm`` where the
    input has another shape than the output. A ``"2+1d"`` convolution is a :class:`FactorizedConv`.

    Attributes:
      features: number of output channels.
      kind: of both convolutions: ``"3d"``, ``"2d"`` or ``"2+1d"``, see :class:`VideoResNet`.
      strides: step of ``conv1`` and of the shortcut in height, width and, unless ``kind`` is ``"2d"``, time.
      norm: makes a normalisation from ``dtype`` and ``name``.
      dtype: dtype of the computation.

    References:
      Tran et al. 2018, figure 1 and section 3.5. Both convolutions of a ``"2+1d"`` block have the middle
      width of the first one, as in torchvision; by the paper's formula the second one's would be larger where
      the block widens.
    """

    features: int
    kind: str
    strides: int = 1
    norm: Callable[..., nn.Module] = BatchNorm
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[N, T, H, W, C]`` to ``[N, T', H / strides, W / strides, features]``, rounded up.

        Raises:
          ValueError: if ``x`` is no video.
        """
        middle = factorized_width(x.shape[-1], self.features)
        branch = self._convolve(x, self.strides, middle, "conv1", train)
        branch = nn.relu(self.norm(dtype=self.dtype, name="norm1")(branch, train=train))
        branch = self._convolve(branch, 1, middle, "conv2", train)
        branch = self.norm(dtype=self.dtype, name="norm2")(branch, train=train)
        if self.strides != 1 or x.shape[-1] != self.features:
            steps = (1 if self.kind == "2d" else self.strides, self.strides, self.strides)
            x = _convolution(self.features, (1, 1, 1), steps, "shortcut_conv", self.dtype)(x)
            x = self.norm(dtype=self.dtype, name="shortcut_norm")(x, train=train)
        return nn.relu(branch + x.astype(branch.dtype))

    def _convolve(self, x: jax.Array, strides: int, middle: int, name: str, train: bool) -> jax.Array:
        if self.kind == "2+1d":
            conv = FactorizedConv(self.features, middle, strides, self.norm, self.dtype, name=name)
            return conv(x, train=train)
        time = (1, 1) if self.kind == "2d" else (3, strides)  # size and step
        size, steps = (time[0], 3, 3), (time[1], strides, strides)
        return _convolution(self.features, size, steps, name, self.dtype)(x)


class FactorizedConv(nn.Module):
    """A (2+1)D convolution: 1x3x3 over each frame, a normalisation and ReLU, and 3x1x1 over time.

    Submodules: ``spatial``, ``norm``, ``temporal``.

    Attributes:
      features: number of output channels.
      middle_features: number of channels between the two, see :func:`factorized_width`.
      strides: step in time, height and width.
      norm: makes a normalisation from ``dtype`` and ``name``.
      dtype: dtype of the computation.

    References:
      Tran et al. 2018, section 3.5 and figure 2b.
    """

    features: int
    middle_features: int
    strides: int = 1
    norm: Callable[..., nn.Module] = BatchNorm
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[N, T, H, W, C]`` to ``[N, T', H', W', features]``, sizes over ``strides`` rounded up.

        Raises:
          ValueError: if ``x`` is no video.
        """
        steps = (1, self.strides, self.strides)
        x = _convolution(self.middle_features, (1, 3, 3), steps, "spatial", self.dtype)(x)
        x = nn.relu(self.norm(dtype=self.dtype, name="norm")(x, train=train))
        return _convolution(self.features, (3, 1, 1), (self.strides, 1, 1), "temporal", self.dtype)(x)


def factorized_width(inputs: int, features: int) -> int:
    """Middle channels that give a (2+1)D convolution the weights of a 3x3x3 one, rounded down.

    .. math:: M = \\lfloor 27 N_{in} N_{out} / (9 N_{in} + 3 N_{out}) \\rfloor

    Args:
      inputs: number of input channels.
      features: number of output channels.

    Returns:
      The number.

    References:
      Tran et al. 2018, section 3.5, with t = d = 3.

    >>> factorized_width(64, 64)
    144
    """
    return 27 * inputs * features // (9 * inputs + 3 * features)


def _convolution(
    features: int, size: tuple[int, int, int], strides: tuple[int, ...], name: str, dtype: DTypeLike | None
) -> Conv:
    """A convolution without bias that keeps time, height and width at stride 1; sizes are odd."""
    return Conv(
        features,
        size,
        strides,
        tuple(length // 2 for length in size),
        use_bias=False,
        kernel_init=he_normal_fan_out,
        dtype=dtype,
        name=name,
    )


def video_resnet(variant: str, **overrides: Any) -> VideoResNet:
    """Builds a ResNet for clips by name.

    Args:
      variant: a key of :data:`VIDEO_RESNET_VARIANTS`.
      **overrides: fields of :class:`VideoResNet` to set or replace.

    Returns:
      The module, without parameters.

    Raises:
      ValueError: for an unknown variant.

    References:
      Tran et al. 2018, *A Closer Look at Spatiotemporal Convolutions for Action Recognition*, section 3 and
      table 1. As torchvision's, whose stem of R(2+1)D has 45 middle channels and whose kernels start from
      fan-out He initialisation; only a head of :class:`jaxvision.backbones.PooledClassifier` starts from
      another distribution, torchvision's being N(0, 0.01).

    >>> video_resnet("r3d_18").temporal_strides
    {'c1': 1, 'c2': 1, 'c3': 2, 'c4': 4, 'c5': 8}
    >>> set(video_resnet("mc3_18").temporal_strides.values())
    {1}
    """
    fields = find_variant("ResNet variant for clips", variant, VIDEO_RESNET_VARIANTS)
    return VideoResNet(**{**fields, **overrides})
