"""Darknet-19 (Redmon and Farhadi 2017) and Darknet-53 (2018): the backbones of YOLOv2 and YOLOv3."""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax
from jax.typing import DTypeLike

from jaxvision.core import check_floating, check_layout, check_stages, find_variant
from jaxvision.layers import BatchNorm, ConvNormAct, DarknetBlock
from jaxvision.ops import leaky_relu, max_pool

DARKNET_VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "darknet19": {"blocks": (0, 1, 1, 2, 2), "residual": False},
        "darknet53": {"blocks": (1, 2, 8, 8, 4)},
    }
)
"""Fields of :func:`darknet` by name.

Darknet-19: YOLO9000, table 6; Darknet-53: YOLOv3, table 1. "blocks" counts the pairs of a 1x1 and a 3x3
convolution behind the 3x3 one that opens each stage.
"""


class Darknet(nn.Module):
    """The convolutional part of a Darknet: five stages, each of half the size and twice the channels.

    Submodules: ``stem`` and ``stage{s}_down``, each with ``conv`` and ``norm``, and ``stage{s}_block{i}``,
    stages counted from 1 and blocks from 0.

    Attributes:
      blocks: number of :class:`DarknetBlock` in each stage.
      features: number of output channels of each stage.
      stem_features: number of channels of the first convolution, of stride 1.
      residual: Darknet-53: stages open with a convolution of stride 2 and blocks add their input. Without it
        Darknet-19: a max pooling in front of the stage halves the size, and nothing is added.
      negative_slope: of the leaky ReLU: 0.1 in the authors' models, 0.01 in timm's weights.
      norm: makes a normalisation from ``dtype`` and ``name``.
      dtype: dtype of the computation; parameters and statistics stay float32.
    """

    blocks: tuple[int, ...] = (1, 2, 8, 8, 4)
    features: tuple[int, ...] = (64, 128, 256, 512, 1024)
    stem_features: int = 32
    residual: bool = True
    negative_slope: float = 0.1
    norm: Callable[..., nn.Module] = BatchNorm
    dtype: DTypeLike | None = None

    @property
    def channels(self) -> dict[str, int]:
        """Number of channels of each feature map: ``{"c1": 64, ..., "c5": 1024}``."""
        return {f"c{level}": width for level, width in enumerate(self.features, start=1)}

    @property
    def strides(self) -> dict[str, int]:
        """Stride of each feature map against the image: ``{"c1": 2, ..., "c5": 32}``."""
        return {f"c{level}": 2**level for level in range(1, len(self.features) + 1)}

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Computes the features of each stage.

        Args:
          images: ``[N, H, W, C]``, floating, normalised; for Darknet-19 at least 32 pixels high and wide.
          train: whether normalisation uses, and updates, the statistics of this batch.

        Returns:
          ``{"c1": [N, H/2, W/2, 64], ..., "c5": [N, H/32, W/32, 1024]}``, sizes rounded up, those of
          Darknet-19 down.

        Raises:
          ValueError: for another shape or dtype of images, smaller ones, or ``blocks`` and ``features`` of
            unequal length.
        """
        check_layout("images", images, "N H W C", remedy="images are a batch, channels last")
        check_floating(images=images)
        self._check_sizes(images)
        activation = functools.partial(leaky_relu, negative_slope=self.negative_slope)
        options: dict[str, Any] = {"norm": self.norm, "activation": activation, "dtype": self.dtype}
        x = ConvNormAct(self.stem_features, 3, **options, name="stem")(images, train=train)
        outputs = {}
        for stage, (count, width) in enumerate(zip(self.blocks, self.features, strict=True), start=1):
            if not self.residual:
                x = max_pool(x, 2)  # [N, H / 2^stage, W / 2^stage, C]
            step = 2 if self.residual else 1
            down = ConvNormAct(width, 3, step, 1, **options, name=f"stage{stage}_down")
            x = down(x, train=train)  # [N, H / 2^stage, W / 2^stage, width]
            for index in range(count):
                block = DarknetBlock(
                    width, residual=self.residual, **options, name=f"stage{stage}_block{index}"
                )
                x = block(x, train=train)
            outputs[f"c{stage}"] = x
        return outputs

    def _check_sizes(self, images: jax.Array) -> None:
        check_stages(blocks=self.blocks, features=self.features)
        least = 1 if self.residual else 2 ** len(self.blocks)
        if min(images.shape[1:3]) < least:
            raise ValueError(
                f"images: expected at least {least} pixels high and wide, got {list(images.shape)}; "
                "pad or resize them"
            )


def darknet(variant: str, **overrides: Any) -> Darknet:
    """Builds a Darknet backbone by name.

    Args:
      variant: a key of :data:`DARKNET_VARIANTS`.
      **overrides: fields of :class:`Darknet` to set or replace.

    Returns:
      The module, without parameters.

    Raises:
      ValueError: for an unknown variant.

    References:
      Redmon and Farhadi 2017, *YOLO9000: Better, Faster, Stronger*, table 6; Redmon and Farhadi 2018,
      *YOLOv3: An Incremental Improvement*, table 1. The last layer, a 1x1 convolution to the classes in front
      of the global average pooling and without an activation in Darknet-19, is the linear layer behind the
      pooling of :class:`jaxvision.backbones.PooledClassifier`: the mean commutes with it.

    >>> darknet("darknet53").channels
    {'c1': 64, 'c2': 128, 'c3': 256, 'c4': 512, 'c5': 1024}
    """
    fields = find_variant("Darknet variant", variant, DARKNET_VARIANTS)
    return Darknet(**{**fields, **overrides})
