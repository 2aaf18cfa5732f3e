"""Network in Network (Lin et al. 2014): convolutions whose filters are small perceptrons, no dense layer."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.core import check_floating, check_layout, find_variant
from jaxvision.layers import Conv, MLPConv, he_normal_fan_in
from jaxvision.ops import average_pool, global_average_pool, max_pool


class NINStage(NamedTuple):
    """One perceptron that slides over the image, and what stands in front of it.

    Attributes:
      features: channels after each layer of the perceptron.
      kernel_size: of its first layer.
      strides: of its first layer.
      padding: of its first layer.
      pool: pooling over 3x3 windows, 2 apart, in front of the stage; None for none. A last window may hang
        over the end of the image, as Caffe's do.
      dropout: whether dropout stands in front of the stage, behind its pooling.
    """

    features: tuple[int, ...]
    kernel_size: int
    strides: int = 1
    padding: int = 0
    pool: Literal["max", "average"] | None = None
    dropout: bool = False


NIN_VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "nin": {
            "stages": (
                NINStage((96, 96, 96), 11, strides=4),
                NINStage((256, 256, 256), 5, padding=2, pool="max"),
                NINStage((384, 384, 384), 3, padding=1, pool="max"),
                NINStage((1024, 1024), 3, padding=1, pool="max", dropout=True),
            )
        },
        "nin_cifar10": {
            "stages": (
                NINStage((192, 160, 96), 5, padding=2),
                NINStage((192, 192, 192), 5, padding=2, pool="max", dropout=True),
                NINStage((192, 192), 3, padding=1, pool="average", dropout=True),
            )
        },
    }
)
"""Fields of :func:`nin` by name.

The paper gives the scheme (section 3.1, figure 2) and no sizes: these are the two Caffe models that its
authors published. The layer that gives one map a class is the head's, so "nin" ends in two layers of 1024 and
"nin_cifar10" in two of 192.
"""


class NIN(nn.Module):
    """The network up to the layer in front of its class maps.

    Submodules: ``mlpconv{s}``, an :class:`MLPConv` a stage, counted from 1.

    Attributes:
      stages: the perceptrons, in order; the strides of stages and poolings are powers of two.
      dropout_rate: share of values dropped in training in front of the stages that ask for it. A
        ``"dropout"`` key must then be in ``rngs``.
      dtype: dtype of the computation; parameters stay float32.
    """

    stages: tuple[NINStage, ...] = NIN_VARIANTS["nin"]["stages"]
    dropout_rate: float = 0.5
    dtype: DTypeLike | None = None

    @property
    def channels(self) -> dict[str, int]:
        """Number of channels of each feature map: ``{"c2": 96, ..., "c5": 1024}`` of "nin"."""
        return {name: self.stages[index].features[-1] for name, (index, _) in self._levels().items()}

    @property
    def strides(self) -> dict[str, int]:
        """Stride of each feature map: ``{"c2": 4, ..., "c5": 32}`` of "nin".

        Where the first stage keeps the size it is counted from it: ``{"c1": 1, "c2": 2, "c3": 4}`` of
        "nin_cifar10".
        """
        return {name: stride for name, (_, stride) in self._levels().items()}

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Computes the features of each stage.

        Args:
          images: ``[N, H, W, C]``, floating, normalised; for "nin" at least 39 pixels high and wide, for
            "nin_cifar10" 4.
          train: whether dropout drops.

        Returns:
          For "nin" ``{"c2": [N, H/4, W/4, 96], "c3": ..., "c5": [N, H/32, W/32, 1024]}``: its first
          convolution has no padding, so that maps are smaller by up to two pixels (54, 27, 13 and 6 at 224).
          For "nin_cifar10" ``{"c1": [N, H, W, 96], "c2": [N, H/2, W/2, 192], "c3": [N, H/4, W/4, 192]}``.

        Raises:
          ValueError: for another shape or dtype, or smaller images.
        """
        check_layout("images", images, "N H W C", remedy="images are a batch, channels last")
        check_floating(images=images)
        least = self._least_size()
        if min(images.shape[1:3]) < least:
            raise ValueError(
                f"images: expected at least {least} pixels high and wide, got {list(images.shape)}; "
                "pad or resize them"
            )
        x, outputs = images, {}
        levels = {index: name for name, (index, _) in self._levels().items()}
        for index, stage in enumerate(self.stages):
            if stage.pool is not None:
                pool = max_pool if stage.pool == "max" else average_pool
                x = pool(x, 3, strides=2, ceil_mode=True)  # [N, H / 2, W / 2, C]
            if stage.dropout:
                x = nn.Dropout(self.dropout_rate)(x, deterministic=not train)
            x = MLPConv(
                stage.features,
                stage.kernel_size,
                stage.strides,
                stage.padding,
                dtype=self.dtype,
                name=f"mlpconv{index + 1}",
            )(x, train=train)  # [N, H / strides, W / strides, features[-1]]
            if index in levels:
                outputs[levels[index]] = x
        return outputs

    def _levels(self) -> dict[str, tuple[int, int]]:
        """Index of the stage and stride of each feature map: the last stage of a stride."""
        steps = [stage.strides * (1 if stage.pool is None else 2) for stage in self.stages]
        first, stride, levels = int(steps[0] == 1), 1, {}
        for index, step in enumerate(steps):
            stride *= step
            levels[f"c{first + stride.bit_length() - 1}"] = (index, stride)
        return levels

    def _least_size(self) -> int:
        """Pixels that leave one pixel of the last map."""
        size = 1
        for stage in reversed(self.stages):
            size = max(1, (size - 1) * stage.strides + stage.kernel_size - 2 * stage.padding)
            if stage.pool is not None:
                size *= 2
        return size


class NINClassifier(nn.Module):
    """One map a class and its mean over the image: no fully connected layer.

    Submodules: ``backbone`` and ``head``, the last 1x1 convolution. A ReLU follows it as in the authors'
    model, so that logits are not negative.

    Attributes:
      backbone: module that maps images to a dict of features; the deepest is taken.
      num_classes: number of classes K.
      dtype: dtype of the computation.

    References:
      Lin et al. 2014, *Network in Network*, section 3.2.
    """

    backbone: nn.Module
    num_classes: int = 1000
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Maps images ``[N, H, W, C]`` to logits ``[N, K]``, float32.

        With ``train`` and a dropout rate of the backbone, a ``"dropout"`` key must be passed in ``rngs``.

        Raises:
          ValueError: as the backbone.
        """
        features = self.backbone(images, train=train)
        head = Conv(self.num_classes, 1, kernel_init=he_normal_fan_in, dtype=self.dtype, name="head")
        maps = nn.relu(head(features[max(features)]))  # [N, H', W', K]
        return global_average_pool(maps.astype(jnp.float32))  # [N, K]


def nin(variant: str, **overrides: Any) -> NIN:
    """Builds a Network in Network backbone by name.

    Args:
      variant: a key of :data:`NIN_VARIANTS`.
      **overrides: fields of :class:`NIN` to set or replace.

    Returns:
      The module, without parameters.

    Raises:
      ValueError: for an unknown variant.

    References:
      Lin et al. 2014, *Network in Network*; sizes as in the Caffe models that the authors published for
      ImageNet and CIFAR-10. Kernels start from He's distribution, not from those models' Gaussians of a
      deviation tuned by layer, which the paper does not give.

    >>> nin("nin").strides
    {'c2': 4, 'c3': 8, 'c4': 16, 'c5': 32}
    >>> nin("nin_cifar10").channels
    {'c1': 96, 'c2': 192, 'c3': 192}
    """
    fields = find_variant("NIN variant", variant, NIN_VARIANTS)
    return NIN(**{**fields, **overrides})
