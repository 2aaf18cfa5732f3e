"""Xception (Chollet 2017): residual blocks of depthwise separable convolutions."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax
from jax.typing import DTypeLike

from jaxvision.core import check_floating, check_layout, find_variant
from jaxvision.layers import BatchNorm, ConvNormAct, SeparableConv, he_normal_fan_out
from jaxvision.ops import max_pool

XCEPTION_VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType({"legacy_xception": {}})
"""Fields of :func:`xception` by name.

Figure 5 of the paper; the name is timm's, for the weights in the layout of Cadene's PyTorch port.
"""


class XceptionBlock(nn.Module):
    """Separable convolutions behind ReLUs, a max pooling where the stride is 2, and a shortcut.

    Submodules: ``conv{i}``, each a :class:`SeparableConv`, counted from 1, and where shape or stride change
    ``shortcut``, a 1x1 convolution and its normalisation. Nothing follows the sum.

    Attributes:
      features: number of channels of each separable convolution.
      strides: 1, or 2 of the pooling (3x3 windows) and of the shortcut.
      first_activation: whether a ReLU stands in front of the first convolution too.
      norm: makes a normalisation from ``dtype`` and ``name``.
      dtype: dtype of the computation.

    References:
      Chollet 2017, *Xception*, figure 5.
    """

    features: tuple[int, ...]
    strides: int = 1
    first_activation: bool = True
    norm: Callable[..., nn.Module] = BatchNorm
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps images ``[N, H, W, C]`` to ``[N, H / strides, W / strides, features[-1]]``, rounded up."""
        options: dict[str, Any] = {
            "norm": self.norm,
            "kernel_init": he_normal_fan_out,
            "dtype": self.dtype,
        }
        branch = x
        for index, features in enumerate(self.features, start=1):
            branch = SeparableConv(
                features,
                order="xception",
                activation=nn.relu if index > 1 or self.first_activation else None,
                **options,
                name=f"conv{index}",
            )(branch, train=train)
        if self.strides > 1:
            branch = max_pool(branch, 3, strides=self.strides, padding=1)
        if self.strides > 1 or x.shape[-1] != self.features[-1]:
            shortcut = ConvNormAct(
                self.features[-1], 1, self.strides, 0, activation=None, **options, name="shortcut"
            )
            x = shortcut(x, train=train)
        return x.astype(branch.dtype) + branch


class Xception(nn.Module):
    """The convolutional part of Xception: entry, middle and exit flow.

    Submodules: ``stem_conv1`` and ``stem_conv2``, each with ``conv`` and ``norm``; ``block1`` to ``block12``,
    the published numbers; ``exit_conv1`` and ``exit_conv2``, separable convolutions.

    Attributes:
      stem_features: channels of the two convolutions of the stem.
      entry_features: channels of the blocks of the entry flow, each of stride 2.
      middle_blocks: number of blocks of the middle flow, as wide as the entry flow's last.
      exit_features: channels of the last block, of stride 2, and of the two separable convolutions behind it.
      norm: makes a normalisation from ``dtype`` and ``name``.
      dtype: dtype of the computation; parameters and statistics stay float32.
    """

    stem_features: tuple[int, int] = (32, 64)
    entry_features: tuple[int, int, int] = (128, 256, 728)
    middle_blocks: int = 8
    exit_features: tuple[int, int, int] = (1024, 1536, 2048)
    norm: Callable[..., nn.Module] = BatchNorm
    dtype: DTypeLike | None = None

    @property
    def channels(self) -> dict[str, int]:
        """Number of channels of each feature map: ``{"c1": 64, ..., "c4": 728, "c5": 2048}``."""
        widths = (self.stem_features[1], *self.entry_features, self.exit_features[2])
        return {f"c{level}": width for level, width in enumerate(widths, start=1)}

    @property
    def strides(self) -> dict[str, int]:
        """Stride of each feature map against the image: ``{"c1": 2, ..., "c5": 32}``."""
        return {f"c{level}": 2**level for level in range(1, 6)}

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Computes the features in front of each halving of the size, and the last ones.

        Args:
          images: ``[N, H, W, C]``, floating, normalised; at least 7 pixels high and wide.
          train: whether normalisation uses, and updates, the statistics of this batch.

        Returns:
          ``{"c1": [N, H/2, W/2, 64], "c2": 128 channels, "c3": 256, "c4": 728, "c5": 2048}``, each after a
          ReLU. The stem's convolutions have no padding: c1 of an image of 299 pixels has 147, the others half
          of the one before, rounded up.

        Raises:
          ValueError: for another shape or dtype, or smaller images.
        """
        check_layout("images", images, "N H W C", remedy="images are a batch, channels last")
        check_floating(images=images)
        if min(images.shape[1:3]) < 7:
            raise ValueError(
                f"images: expected at least 7 pixels high and wide, got {list(images.shape)}; "
                "pad or resize them"
            )
        options: dict[str, Any] = {"norm": self.norm, "dtype": self.dtype}
        plain = {**options, "kernel_init": he_normal_fan_out}
        first, second = self.stem_features
        x = ConvNormAct(first, 3, 2, 0, **plain, name="stem_conv1")(images, train=train)
        x = ConvNormAct(second, 3, 1, 0, **plain, name="stem_conv2")(x, train=train)  # [N, H / 2, W / 2, 64]
        outputs = {"c1": x}
        for index, width in enumerate(self.entry_features, start=1):
            block = XceptionBlock((width, width), 2, index > 1, **options, name=f"block{index}")
            x = block(x, train=train)  # [N, H / 2^(index + 1), W / 2^(index + 1), width]
            outputs[f"c{index + 1}"] = nn.relu(x)
        for _ in range(self.middle_blocks):
            index += 1
            x = XceptionBlock((width, width, width), **options, name=f"block{index}")(x, train=train)
        outputs["c4"] = nn.relu(x)
        reduced, *separable = self.exit_features
        x = XceptionBlock((width, reduced), 2, **options, name=f"block{index + 1}")(x, train=train)
        for index, features in enumerate(separable, start=1):
            conv = SeparableConv(
                features, order="xception", activation=None, **plain, name=f"exit_conv{index}"
            )
            x = nn.relu(conv(x, train=train))  # [N, H / 32, W / 32, features]
        return {**outputs, "c5": x}


def xception(variant: str, **overrides: Any) -> Xception:
    """Builds an Xception backbone by name.

    Args:
      variant: a key of :data:`XCEPTION_VARIANTS`; :func:`aligned_xception` has DeepLab's.
      **overrides: fields of :class:`Xception` to set or replace.

    Returns:
      The module, without parameters.

    Raises:
      ValueError: for an unknown variant.

    References:
      Chollet 2017, *Xception: Deep Learning with Depthwise Separable Convolutions*, figure 5; padding and
      initialisation as in timm's port, whose max pooling has one row and column of padding on each side.

    >>> xception("legacy_xception").channels
    {'c1': 64, 'c2': 128, 'c3': 256, 'c4': 728, 'c5': 2048}
    """
    fields = find_variant("Xception variant", variant, XCEPTION_VARIANTS)
    return Xception(**{**fields, **overrides})
