"""Aligned Xception (Chen et al. 2018), DeepLab's: deeper, and with strided convolutions for poolings."""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax
from jax.typing import DTypeLike

from jaxvision.core import check_floating, check_layout, find_variant
from jaxvision.layers import BatchNorm, ConvNormAct, DropPath, SeparableConv, he_uniform

# Chen et al. 2018 (DeepLabv3+), section 3.2 and figure 4, is xception65; the other two are in the authors'
# code. The names are timm's; the numbers count convolutions.
_SHORT_ENTRY = ((128, 2), (256, 2), (728, 2))
ALIGNED_XCEPTION_VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "xception41": {"entry": _SHORT_ENTRY, "middle_blocks": 8},
        "xception65": {"entry": _SHORT_ENTRY, "middle_blocks": 16},
        "xception71": {
            "entry": ((128, 2), (256, 1), (256, 2), (728, 1), (728, 2)),
            "middle_blocks": 16,
        },
    }
)
"""Fields of :func:`aligned_xception` by name."""
# What torch.nn.Conv2d starts from, uniform of +-1 / sqrt(fan-in).
_INIT = he_uniform(negative_slope=5**0.5)
_NORM = functools.partial(BatchNorm, epsilon=1e-3)


class AlignedXceptionBlock(nn.Module):
    """Three separable convolutions, the last one strided, and a shortcut.

    Submodules: ``conv1`` to ``conv3``, each a :class:`SeparableConv` normalised after both parts, and where
    shape or stride change ``shortcut``.

    Attributes:
      features: number of channels of each separable convolution.
      strides: of the last one and of the shortcut.
      dilation: distance of neighbouring taps of the depthwise windows.
      residual: whether the input is added. The block with a residual has ReLUs in front of its separable
        convolutions; the one without has them inside, after each normalisation.
      project: whether the shortcut has a convolution even where shape and stride stay: where dilation took
        the place of a stride, so that the parameters are the strided net's (timm's then lacks it).
      drop_path_rate: probability that training drops the branch for a sample.
      norm: makes a normalisation from ``dtype`` and ``name``.
      dtype: dtype of the computation.
    """

    features: tuple[int, int, int]
    strides: int = 1
    dilation: int = 1
    residual: bool = True
    project: bool = False
    drop_path_rate: float = 0.0
    norm: Callable[..., nn.Module] = _NORM
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """Maps images ``[N, H, W, C]`` to ``[N, H / strides, W / strides, features[-1]]``, rounded up.

        Returns:
          The output, and what the last separable convolution reads, ``[N, H, W, features[1]]``: the finest
          map of that depth.
        """
        options: dict[str, Any] = {"norm": self.norm, "kernel_init": _INIT, "dtype": self.dtype}
        branch = x
        for index, features in enumerate(self.features, start=1):
            tap = nn.relu(branch) if self.residual else branch
            branch = SeparableConv(
                features,
                3,
                self.strides if index == len(self.features) else 1,
                self.dilation,  # as much padding as keeps the size at stride 1
                self.dilation,
                activation=None if self.residual else nn.relu,
                **options,
                name=f"conv{index}",
            )(tap, train=train)
        if not self.residual:
            return branch, tap
        branch = DropPath(self.drop_path_rate)(branch, train=train)
        if self.project or self.strides > 1 or x.shape[-1] != self.features[-1]:
            shortcut = ConvNormAct(
                self.features[-1], 1, self.strides, 0, activation=None, **options, name="shortcut"
            )
            x = shortcut(x, train=train)
        return x.astype(branch.dtype) + branch, tap


class AlignedXception(nn.Module):
    """The convolutional part of an Aligned Xception: entry, middle and exit flow.

    Submodules: ``stem_conv1`` and ``stem_conv2``, each with ``conv`` and ``norm``, and ``block{i}``, counted
    from 0 as timm's.

    Attributes:
      stem_features: channels of the two convolutions of the stem.
      entry: channels and stride of each block of the entry flow; three have stride 2.
      middle_blocks: number of blocks of the middle flow, as wide as the entry flow's last.
      exit_features: channels of the second and third separable convolution of the last strided block.
      last_features: channels of the three separable convolutions of the last block.
      output_stride: 32, or 16 or 8 for dense prediction: the strides past it are taken away, and the blocks
        behind are dilated instead.
      drop_path_rate: greatest probability that training drops a block's branch for a sample: that of the
        ``l``-th of ``L + 1`` blocks, counted from 0, is ``l / L`` of it; the last one has no residual, and
        drops nothing. A ``"dropout"`` key must then be in ``rngs``.
      norm: makes a normalisation from ``dtype`` and ``name``.
      dtype: dtype of the computation; parameters and statistics stay float32.
    """

    stem_features: tuple[int, int] = (32, 64)
    entry: tuple[tuple[int, int], ...] = _SHORT_ENTRY
    middle_blocks: int = 16
    exit_features: tuple[int, int] = (1024, 1024)
    last_features: tuple[int, int, int] = (1536, 1536, 2048)
    output_stride: int = 32
    drop_path_rate: float = 0.0
    norm: Callable[..., nn.Module] = _NORM
    dtype: DTypeLike | None = None

    @property
    def channels(self) -> dict[str, int]:
        """Number of channels of each feature map: ``{"c1": 128, "c2": 256, ..., "c5": 2048}``."""
        strided = [features for features, strides in self.entry if strides > 1]
        widths = (*strided, self.exit_features[0], self.last_features[-1])
        return {f"c{level}": width for level, width in enumerate(widths, start=1)}

    @property
    def strides(self) -> dict[str, int]:
        """Stride of each feature map against the image: ``{"c1": 2, ..., "c5": 32}``."""
        return {f"c{level}": min(2**level, self.output_stride) for level in range(1, 6)}

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Computes the features in front of each halving of the size, and the last ones.

        Args:
          images: ``[N, H, W, C]``, floating, normalised, of any size.
          train: whether normalisation uses, and updates, the statistics of this batch.

        Returns:
          ``{"c1": [N, H/2, W/2, 128], "c2": [N, H/4, W/4, 256], ..., "c5": [N, H/32, W/32, 2048]}``, sizes
          rounded up: c1 to c4 are what the strided separable convolutions read, after a ReLU.

        Raises:
          ValueError: for another shape or dtype of images, or another ``output_stride``.
        """
        check_layout("images", images, "N H W C", remedy="images are a batch, channels last")
        check_floating(images=images)
        if self.output_stride not in (8, 16, 32):
            raise ValueError(
                f"output_stride: expected 8, 16 or 32, got {self.output_stride}; take one of them"
            )
        options: dict[str, Any] = {"norm": self.norm, "dtype": self.dtype}
        first, second = self.stem_features
        x = ConvNormAct(first, 3, 2, 1, kernel_init=_INIT, **options, name="stem_conv1")(images, train=train)
        x = ConvNormAct(second, 3, kernel_init=_INIT, **options, name="stem_conv2")(x, train=train)
        outputs: dict[str, jax.Array] = {}
        stride, dilation, blocks = 2, 1, self._blocks()  # of the map [N, H / 2, W / 2, 64]
        for index, (features, step) in enumerate(blocks):
            reached = stride * step > self.output_stride
            last = index == len(blocks) - 1
            x, tap = AlignedXceptionBlock(
                features,
                1 if reached else step,
                dilation,
                residual=not last,
                project=step > 1,
                drop_path_rate=self.drop_path_rate * index / (len(blocks) - 1),
                **options,
                name=f"block{index}",
            )(x, train=train)  # [N, H / stride, W / stride, features[-1]]
            if step > 1:
                outputs[f"c{len(outputs) + 1}"] = tap
            if reached:
                dilation *= step
            else:
                stride *= step
        return {**outputs, "c5": x}

    def _blocks(self) -> list[tuple[tuple[int, int, int], int]]:
        """Channels and stride of every block."""
        width = self.entry[-1][0]
        return [
            *(((features,) * 3, strides) for features, strides in self.entry),
            *[((width,) * 3, 1)] * self.middle_blocks,
            ((width, *self.exit_features), 2),
            (self.last_features, 1),
        ]


def aligned_xception(variant: str, **overrides: Any) -> AlignedXception:
    """Builds an Aligned Xception backbone by name.

    Args:
      variant: a key of :data:`ALIGNED_XCEPTION_VARIANTS`.
      **overrides: fields of :class:`AlignedXception` to set or replace.

    Returns:
      The module, without parameters.

    Raises:
      ValueError: for an unknown variant.

    References:
      Chen et al. 2018, *Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation*,
      section 3.2 and figure 4. As timm's, whose normalisations have epsilon 1e-3 in these three nets: so has
      the default of ``norm`` here.

    >>> aligned_xception("xception65").channels
    {'c1': 128, 'c2': 256, 'c3': 728, 'c4': 1024, 'c5': 2048}
    """
    fields = find_variant("Aligned Xception variant", variant, ALIGNED_XCEPTION_VARIANTS)
    return AlignedXception(**{**fields, **overrides})
