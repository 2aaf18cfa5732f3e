"""VGG (Simonyan and Zisserman 2015): stages of 3x3 convolutions, each closed by a 2x2 max pooling."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax
from jax.typing import DTypeLike

from jaxvision.core import check_floating, check_layout, check_stages, find_variant
from jaxvision.layers import BatchNorm, Conv, he_normal_fan_out
from jaxvision.ops import max_pool, max_pool_with_indices

VGG_VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "vgg11": {"convolutions": (1, 1, 2, 2, 2)},
        "vgg13": {"convolutions": (2, 2, 2, 2, 2)},
        "vgg16": {"convolutions": (2, 2, 3, 3, 3)},
        "vgg19": {"convolutions": (2, 2, 4, 4, 4)},
        "vgg11_bn": {"convolutions": (1, 1, 2, 2, 2), "use_norm": True},
        "vgg13_bn": {"convolutions": (2, 2, 2, 2, 2), "use_norm": True},
        "vgg16_bn": {"convolutions": (2, 2, 3, 3, 3), "use_norm": True},
        "vgg19_bn": {"convolutions": (2, 2, 4, 4, 4), "use_norm": True},
    }
)
"""Fields of :func:`vgg` by name.

Table 1 of the paper, columns A, B, D and E; "_bn" adds a batch normalisation after each convolution, as
torchvision publishes it (the paper predates it).
"""


class VGG(nn.Module):
    """The convolutional part of VGG.

    Submodules: ``stage{s}_conv{i}`` and, with ``use_norm``, ``stage{s}_norm{i}``, both counted from 1. The
    convolutions keep their bias beside a normalisation, as the published weights do.

    Attributes:
      convolutions: number of convolutions in each of the five stages.
      features: number of channels of each stage.
      use_norm: whether a batch normalisation follows each convolution.
      axis_name: axis of ``pmap`` over which batch statistics are averaged; None keeps them local.
      dtype: dtype of the computation; parameters and statistics stay float32.
    """

    convolutions: tuple[int, ...] = (2, 2, 3, 3, 3)
    features: tuple[int, ...] = (64, 128, 256, 512, 512)
    use_norm: bool = False
    axis_name: str | None = None
    dtype: DTypeLike | None = None

    @property
    def channels(self) -> dict[str, int]:
        """Number of channels of each feature map, for decoders: ``{"c1": 64, ..., "c5": 512}``."""
        return {f"c{stage}": width for stage, width in enumerate(self.features, start=1)}

    @property
    def strides(self) -> dict[str, int]:
        """Stride of each feature map against the image: ``{"c1": 2, ..., "c5": 32}``."""
        return {f"c{stage}": 2**stage for stage in range(1, len(self.features) + 1)}

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool, with_indices: bool = False) -> dict[str, jax.Array]:
        """Computes the features of each stage, after its pooling.

        Args:
          images: ``[N, H, W, C]``, floating, normalised; at least 32 pixels high and wide.
          train: whether batch normalisation uses, and updates, the statistics of this batch.
          with_indices: whether to tell the places of the poolings' maxima too, for networks that unpool.

        Returns:
          ``{"c1": [N, H/2, W/2, 64], ..., "c5": [N, H/32, W/32, 512]}``, sizes rounded down: the outputs
          of the paper's five max poolings. With ``with_indices`` also ``"i1"`` to ``"i5"`` of these shapes,
          int32, as :func:`jaxvision.ops.max_pool_with_indices` gives them.

        Raises:
          ValueError: for another shape or dtype, smaller images, or ``convolutions`` and ``features`` of
            unequal length.
        """
        check_layout("images", images, "N H W C", remedy="images are a batch, channels last")
        check_floating(images=images)
        check_stages(convolutions=self.convolutions, features=self.features)
        least = 2 ** len(self.convolutions)
        if min(images.shape[1:3]) < least:
            raise ValueError(
                f"images: expected at least {least} pixels high and wide, got {list(images.shape)}; "
                "pad or resize them"
            )
        x = images
        outputs: dict[str, jax.Array] = {}
        for stage, (count, width) in enumerate(zip(self.convolutions, self.features, strict=True), start=1):
            for layer in range(1, count + 1):
                x = self._convolve(x, width, f"stage{stage}", layer, train)  # [N, H, W, width]
            if with_indices:
                x, outputs[f"i{stage}"] = max_pool_with_indices(x, 2)  # [N, H / 2, W / 2, width]
            else:
                x = max_pool(x, 2)  # [N, H / 2, W / 2, width]
            outputs[f"c{stage}"] = x
        return outputs

    def _convolve(self, x: jax.Array, width: int, stage: str, layer: int, train: bool) -> jax.Array:
        # Fan-out initialisation is torchvision's; the paper's N(0, 0.01) does not train past 13 layers.
        x = Conv(
            width,
            3,
            padding=1,
            kernel_init=he_normal_fan_out,
            dtype=self.dtype,
            name=f"{stage}_conv{layer}",
        )(x)
        if self.use_norm:
            norm = BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name=f"{stage}_norm{layer}")
            x = norm(x, train=train)
        return nn.relu(x)


def vgg(variant: str, **overrides: Any) -> VGG:
    """Builds a VGG backbone by name.

    Args:
      variant: a key of :data:`VGG_VARIANTS`.
      **overrides: fields of :class:`VGG` to set or replace.

    Returns:
      The module, without parameters.

    Raises:
      ValueError: for an unknown variant.

    References:
      Simonyan and Zisserman 2015, *Very Deep Convolutional Networks for Large-Scale Image Recognition*,
      table 1. Initialisation and batch normalisation as torchvision's.

    >>> vgg("vgg16").convolutions
    (2, 2, 3, 3, 3)
    """
    fields = find_variant("VGG variant", variant, VGG_VARIANTS)
    return VGG(**{**fields, **overrides})
