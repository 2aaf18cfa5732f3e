"""ResNet for 32x32 images (He et al. 2016, section 4.2): three narrow stages after a stem of stride 1."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax
from jax.typing import DTypeLike

from jaxvision.core import check_floating, check_layout, check_stages, find_variant
from jaxvision.layers import BasicBlock, BatchNorm, Conv, he_normal_fan_in

CIFAR_RESNET_VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "cifar_resnet20": {"blocks": (3, 3, 3)},
        "cifar_resnet32": {"blocks": (5, 5, 5)},
        "cifar_resnet44": {"blocks": (7, 7, 7)},
        "cifar_resnet56": {"blocks": (9, 9, 9)},
        "cifar_resnet110": {"blocks": (18, 18, 18)},
    }
)
"""Fields of :func:`cifar_resnet` by name.

He et al. 2016, section 4.2 and table 6: 6 n + 2 layers, n = 3, 5, 7, 9 and 18 blocks a stage. The shortcuts
are of option A in all of them.
"""


class CifarResNet(nn.Module):
    """The convolutional part of a ResNet for CIFAR.

    Submodules: ``stem_conv``, ``stem_norm`` and ``stage{s}_block{i}``, as of
    :class:`jaxvision.backbones.ResNet`. The stem is a 3x3 convolution; the first block of each stage but the
    first has stride 2.

    Attributes:
      blocks: number of blocks in each stage.
      features: number of output channels of each stage; the stem has those of the first.
      shortcut: where a stage changes the shape: ``"zeros"``, the paper's option A, or ``"projection"``,
        option B. See :class:`jaxvision.layers.BasicBlock`.
      drop_path_rate: probability that training drops the last block's branch for a sample; that of the
        ``l``-th of ``L`` blocks is ``l / L`` of it (Huang et al. 2016, *Deep Networks with Stochastic Depth*,
        equation 4, which has 0.5 for ``cifar_resnet110``). A ``"dropout"`` key must then be in ``rngs``.
      norm: makes a normalisation from ``dtype`` and ``name``, such as ``BatchNorm`` or
        ``functools.partial(BatchNorm, axis_name="data")``.
      dtype: dtype of the computation; parameters and statistics stay float32.
    """

    blocks: tuple[int, ...] = (3, 3, 3)
    features: tuple[int, ...] = (16, 32, 64)
    shortcut: str = "zeros"
    drop_path_rate: float = 0.0
    norm: Callable[..., nn.Module] = BatchNorm
    dtype: DTypeLike | None = None

    @property
    def channels(self) -> dict[str, int]:
        """Number of channels of each stage: ``{"c1": 16, "c2": 32, "c3": 64}``."""
        return {f"c{stage}": width for stage, width in enumerate(self.features, start=1)}

    @property
    def strides(self) -> dict[str, int]:
        """Stride of each stage against the image: ``{"c1": 1, "c2": 2, "c3": 4}``."""
        return {f"c{stage}": 2 ** (stage - 1) for stage in range(1, len(self.features) + 1)}

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Computes the features of each stage.

        Args:
          images: ``[N, H, W, C]``, floating, normalised, of any size; CIFAR's are 32x32.
          train: whether normalisation uses, and updates, the statistics of this batch.

        Returns:
          ``{"c1": [N, H, W, 16], "c2": [N, H/2, W/2, 32], "c3": [N, H/4, W/4, 64]}``, sizes rounded up. The
          names count stages: no stage has the stride that ``c1`` has in a net for ImageNet.

        Raises:
          ValueError: for another shape or dtype of images, an unknown ``shortcut``, or ``blocks`` and
            ``features`` of unequal length.
        """
        check_layout("images", images, "N H W C", remedy="images are a batch, channels last")
        check_floating(images=images)
        check_stages(blocks=self.blocks, features=self.features)
        x = Conv(
            self.features[0],
            3,
            padding=1,
            use_bias=False,
            kernel_init=he_normal_fan_in,
            dtype=self.dtype,
            name="stem_conv",
        )(images)
        x = nn.relu(self.norm(dtype=self.dtype, name="stem_norm")(x, train=train))  # [N, H, W, C1]
        outputs: dict[str, jax.Array] = {}
        depth = 0
        for stage, (count, width) in enumerate(zip(self.blocks, self.features, strict=True), start=1):
            for index in range(count):
                depth += 1
                x = BasicBlock(
                    width,
                    strides=2 if stage > 1 and index == 0 else 1,
                    norm=self.norm,
                    drop_path_rate=self.drop_path_rate * depth / sum(self.blocks),
                    shortcut=self.shortcut,
                    kernel_init=he_normal_fan_in,
                    dtype=self.dtype,
                    name=f"stage{stage}_block{index}",
                )(x, train=train)  # [N, H / stride, W / stride, width]
            outputs[f"c{stage}"] = x
        return outputs


def cifar_resnet(variant: str, **overrides: Any) -> CifarResNet:
    """Builds a ResNet for CIFAR by name.

    Args:
      variant: a key of :data:`CIFAR_RESNET_VARIANTS`.
      **overrides: fields of :class:`CifarResNet` to set or replace.

    Returns:
      The module, without parameters.

    Raises:
      ValueError: for an unknown variant.

    References:
      He et al. 2016, *Deep Residual Learning for Image Recognition*, section 4.2 and table 6, initialised as
      He et al. 2015, *Delving Deep into Rectifiers*, by fan-in; only a head of
      :class:`jaxvision.backbones.PooledClassifier` starts from another distribution. The zeros of a shortcut
      go to both sides of the channels, as in the implementation whose weights
      :func:`jaxvision.weights.cifar_resnet_classifier_rules` are for.

    >>> cifar_resnet("cifar_resnet110").strides
    {'c1': 1, 'c2': 2, 'c3': 4}
    """
    fields = find_variant("CIFAR ResNet variant", variant, CIFAR_RESNET_VARIANTS)
    return CifarResNet(**{**fields, **overrides})
