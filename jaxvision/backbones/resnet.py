"""ResNet (He et al. 2016), ResNeXt, Wide ResNet and SE-ResNet: a stem and four stages of residual blocks."""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax
from jax.typing import DTypeLike

from jaxvision.core import check_floating, check_layout, check_stages, find_variant
from jaxvision.layers import BasicBlock, BatchNorm, Bottleneck, Conv, SqueezeExcitation, he_normal_fan_out
from jaxvision.ops import max_pool

_PLAIN = (64, 128, 256, 512)
_EXPANDED = (256, 512, 1024, 2048)


def _bottlenecks(*blocks: int, groups: int = 1, base_width: int = 64) -> Mapping[str, Any]:
    block = functools.partial(Bottleneck, groups=groups, base_width=base_width)
    return {"blocks": blocks, "features": _EXPANDED, "block": block}


# He et al. 2016, table 1; Xie et al. 2017, table 1 (32x4d: 32 groups of 4 channels in the first stage);
# Zagoruyko and Komodakis 2016, WRN-50-2-bottleneck: the 3x3 convolutions twice as wide. The names are
# torchvision's; resnext101_32x4d is timm's.
_PLAIN_VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "resnet18": {"blocks": (2, 2, 2, 2), "features": _PLAIN, "block": BasicBlock},
    "resnet34": {"blocks": (3, 4, 6, 3), "features": _PLAIN, "block": BasicBlock},
    "resnet50": _bottlenecks(3, 4, 6, 3),
    "resnet101": _bottlenecks(3, 4, 23, 3),
    "resnet152": _bottlenecks(3, 8, 36, 3),
    "resnext50_32x4d": _bottlenecks(3, 4, 6, 3, groups=32, base_width=4),
    "resnext101_32x4d": _bottlenecks(3, 4, 23, 3, groups=32, base_width=4),
    "resnext101_32x8d": _bottlenecks(3, 4, 23, 3, groups=32, base_width=8),
    "resnext101_64x4d": _bottlenecks(3, 4, 23, 3, groups=64, base_width=4),
    "wide_resnet50_2": _bottlenecks(3, 4, 6, 3, base_width=128),
    "wide_resnet101_2": _bottlenecks(3, 4, 23, 3, base_width=128),
}


def _excited(name: str) -> Mapping[str, Any]:
    """A squeeze-and-excitation in every block, whose branch starts at zero."""
    squeeze = functools.partial(SqueezeExcitation, divisor=8, kernel_init=he_normal_fan_out)
    return {**_PLAIN_VARIANTS[name], "attention": squeeze, "zero_init_residual": True}


RESNET_VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        **_PLAIN_VARIANTS,
        **{f"se{name}": _excited(name) for name in _PLAIN_VARIANTS if not name.startswith("wide")},
    }
)
"""Fields of :func:`resnet` by name: ResNet, ResNeXt, Wide ResNet, SE-ResNet.

Hu et al. 2018, table 1, as timm names and builds them. Its legacy_seresnet50 and the like, ported from the
authors' Caffe nets, have the stride in the first 1x1 convolution and are others; so are those with a letter
behind the depth (seresnet152d), whose stem is deeper.
"""


class ResNet(nn.Module):
    """The convolutional part of a ResNet.

    Submodules: ``stem_conv``, ``stem_norm`` and ``stage{s}_block{i}``, stages counted from 1 and blocks from
    0. The stem is a 7x7 convolution and a 3x3 max pooling, both of stride 2; the first block of each stage
    but the first has stride 2.

    Attributes:
      blocks: number of blocks in each stage.
      features: number of output channels of each stage.
      block: makes a block from ``features``, ``strides``, ``dilation``, ``first_dilation``, ``norm``,
        ``attention``, ``drop_path_rate``, ``zero_init_residual``, ``dtype`` and ``name``:
        :class:`BasicBlock`, :class:`Bottleneck`, or one with more fields set by ``functools.partial``.
      stem_features: number of channels of the stem.
      output_stride: 32, or 16 or 8 for dense prediction: the strides past it are taken away, and the
        convolutions behind them are dilated instead, so that the kernels still fit. At every 2nd (4th) pixel
        the features are then the values of the net with stride 32 (Chen et al. 2017, *Rethinking Atrous
        Convolution*, section 3.1). 8 is torchvision's ``replace_stride_with_dilation=[False, True, True]``.
      dilate_strided: whether the convolution whose stride is taken away is dilated as well, though its input
        is what it was, as segmentation_models.pytorch and torchvision's dilated MobileNetV3 have it; the
        values of the net with stride 32 are then lost.
      attention: as the blocks': ``SqueezeExcitation`` makes an SE-ResNet.
      drop_path_rate: probability that training drops the last block's branch for a sample; that of the
        ``l``-th of ``L`` blocks is ``l / L`` of it (Huang et al. 2016, *Deep Networks with Stochastic Depth*,
        equation 4). A ``"dropout"`` key must then be in ``rngs``.
      zero_init_residual: as the blocks'.
      norm: makes a normalisation from ``dtype`` and ``name``, such as ``BatchNorm`` or
        ``functools.partial(BatchNorm, axis_name="data")``.
      dtype: dtype of the computation; parameters and statistics stay float32.
    """

    blocks: tuple[int, ...] = (3, 4, 6, 3)
    features: tuple[int, ...] = _EXPANDED
    block: Callable[..., nn.Module] = Bottleneck
    stem_features: int = 64
    output_stride: int = 32
    dilate_strided: bool = False
    attention: Callable[..., nn.Module] | None = None
    drop_path_rate: float = 0.0
    zero_init_residual: bool = False
    norm: Callable[..., nn.Module] = BatchNorm
    dtype: DTypeLike | None = None

    @property
    def channels(self) -> dict[str, int]:
        """Number of channels of each feature map, for decoders: ``{"c1": 64, ..., "c5": 2048}``."""
        return {
            f"c{level}": width for level, width in enumerate((self.stem_features, *self.features), start=1)
        }

    @property
    def strides(self) -> dict[str, int]:
        """Stride of each feature map against the image: ``{"c1": 2, ..., "c5": 32}``."""
        levels = range(1, len(self.features) + 2)
        return {f"c{level}": min(2**level, self.output_stride) for level in levels}

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Computes the features of the stem and of each stage.

        Args:
          images: ``[N, H, W, C]``, floating, normalised, of any size.
          train: whether normalisation uses, and updates, the statistics of this batch.

        Returns:
          ``{"c1": [N, H/2, W/2, 64], "c2": [N, H/4, W/4, C2], ..., "c5": [N, H/32, W/32, C5]}``, sizes
          rounded up: the stem's convolution (after its activation) and the four stages.

        Raises:
          ValueError: for another shape or dtype of images, another ``output_stride``, or ``blocks`` and
            ``features`` of unequal length.
        """
        check_layout("images", images, "N H W C", remedy="images are a batch, channels last")
        check_floating(images=images)
        self._check_fields()
        x = Conv(
            self.stem_features,
            7,
            strides=2,
            padding=3,
            use_bias=False,
            kernel_init=he_normal_fan_out,
            dtype=self.dtype,
            name="stem_conv",
        )(images)
        x = nn.relu(self.norm(dtype=self.dtype, name="stem_norm")(x, train=train))  # [N, H / 2, W / 2, C1]
        outputs = {"c1": x}
        x = max_pool(x, 3, strides=2, padding=1)  # [N, H / 4, W / 4, C1]
        stride, dilation, depth = 4, 1, 0
        for stage, (count, width) in enumerate(zip(self.blocks, self.features, strict=True), start=1):
            step = 1 if stage == 1 else 2
            previous = dilation
            if stride * step > self.output_stride:
                step, dilation = 1, dilation * step
            stride *= step
            first = dilation if self.dilate_strided else previous
            for index in range(count):
                depth += 1
                x = self._make_block(
                    width,
                    strides=step if index == 0 else 1,
                    dilation=dilation,
                    first_dilation=first if index == 0 else dilation,
                    drop_path_rate=self.drop_path_rate * depth / sum(self.blocks),
                    name=f"stage{stage}_block{index}",
                )(x, train=train)  # [N, H / stride, W / stride, width]
            outputs[f"c{stage + 1}"] = x
        return outputs

    def _make_block(self, features: int, **fields: Any) -> nn.Module:
        return self.block(
            features,
            norm=self.norm,
            attention=self.attention,
            zero_init_residual=self.zero_init_residual,
            dtype=self.dtype,
            **fields,
        )

    def _check_fields(self) -> None:
        if self.output_stride not in (8, 16, 32):
            raise ValueError(
                f"output_stride: expected 8, 16 or 32, got {self.output_stride}; take one of them"
            )
        check_stages(blocks=self.blocks, features=self.features)


def resnet(variant: str, **overrides: Any) -> ResNet:
    """Builds a ResNet, ResNeXt, Wide ResNet or SE-ResNet backbone by name.

    Args:
      variant: a key of :data:`RESNET_VARIANTS`.
      **overrides: fields of :class:`ResNet` to set or replace.

    Returns:
      The module, without parameters.

    Raises:
      ValueError: for an unknown variant.

    References:
      He et al. 2016, *Deep Residual Learning for Image Recognition*, table 1; Xie et al. 2017, *Aggregated
      Residual Transformations for Deep Neural Networks*, table 1; Zagoruyko and Komodakis 2016, *Wide
      Residual Networks*; Hu et al. 2018, *Squeeze-and-Excitation Networks*, table 1. As torchvision's and
      timm's, whose bottlenecks have the stride on the 3x3 convolution and whose kernels start from fan-out He
      initialisation; only a head of :class:`jaxvision.backbones.PooledClassifier` and the biases of
      squeeze-and-excitations, which start at zero, start from other distributions than PyTorch's defaults.

    >>> resnet("resnet50").channels
    {'c1': 64, 'c2': 256, 'c3': 512, 'c4': 1024, 'c5': 2048}
    >>> resnet("resnet18", output_stride=8).strides
    {'c1': 2, 'c2': 4, 'c3': 8, 'c4': 8, 'c5': 8}
    """
    fields = find_variant("ResNet variant", variant, RESNET_VARIANTS)
    return ResNet(**{**fields, **overrides})
