"""What MobileNets and EfficientNets share: stem, stages of blocks, levels of features, and the head."""

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.backbones.classifier import take_feature
from jaxvision.core import check_floating, check_layout
from jaxvision.layers import (
    BatchNorm,
    ConvNormAct,
    Dropout,
    InvertedResidual,
    he_normal_fan_out,
    make_divisible,
)
from jaxvision.layers.initializers import Initializer
from jaxvision.ops import ceil_padding, global_average_pool
from jaxvision.ops.windows import Padding


class MobileBlock(NamedTuple):
    """One block of a :class:`MobileBackbone`.

    Attributes:
      inputs: number of input channels.
      features: number of output channels.
      hidden: number of channels of the depthwise convolution; as many as ``inputs``: no expansion.
      kernel_size: of the depthwise convolution.
      strides: of the depthwise convolution.
      activation: elementwise function after the expansion and after the depthwise convolution.
      attention: makes what reweights the hidden channels; None leaves it out.
    """

    inputs: int
    features: int
    hidden: int
    kernel_size: int
    strides: int
    activation: Callable[[jax.Array], jax.Array]
    attention: Callable[..., nn.Module] | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the block's submodules, in their order: ``("expand", ..., "project")``."""
        expand = () if self.hidden == self.inputs else ("expand",)
        attention = () if self.attention is None else ("attention",)
        return (*expand, "depthwise", *attention, "project")


def scaled_stages(
    table: Sequence[tuple[int, int, int, int, int]],
    stem_features: int,
    activation: Callable[[jax.Array], jax.Array],
    *,
    width: float = 1.0,
    depth: float = 1.0,
    scale_ends: bool = True,
) -> tuple[tuple[MobileBlock, ...], ...]:
    """Blocks of a network that is a small one with its widths and depths multiplied.

    Args:
      table: of each stage the expansion, the kernel's size, the first block's stride, the number of output
        channels and that of blocks, as table 1 of EfficientNet's paper.
      stem_features: number of input channels of the first stage.
      activation: elementwise function.
      width: what channels are multiplied by, then rounded to multiples of 8.
      depth: what numbers of blocks are multiplied by, then rounded up.
      scale_ends: whether ``depth`` reaches the first and the last stage.

    Returns:
      The blocks, stage by stage.

    >>> stages = scaled_stages([(1, 3, 1, 16, 1), (6, 5, 2, 24, 2)], 32, nn.relu6, width=0.5)
    >>> [len(stage) for stage in stages], stages[1][0].features
    ([1, 2], 16)
    """
    inputs, stages = stem_features, []
    for number, (expansion, kernel_size, strides, features, count) in enumerate(table):
        features = make_divisible(features * width)
        if scale_ends or 0 < number < len(table) - 1:
            count = math.ceil(count * depth)
        blocks = []
        for index in range(count):
            step = strides if index == 0 else 1
            blocks.append(MobileBlock(inputs, features, expansion * inputs, kernel_size, step, activation))
            inputs = features
        stages.append(tuple(blocks))
    return tuple(stages)


class MobileBackbone(nn.Module):
    """A strided 3x3 convolution and stages of blocks, by default inverted residuals; subclasses list them.

    Submodules: ``stem`` (``conv`` and ``norm``) and ``stage{s}_block{i}``, stages counted from 1 and blocks
    from 0. A feature map ``c1``, ``c2``, ... is what a block with a stride reads, and ``c5`` what the last
    block gives; the 1x1 convolution behind it is part of the head, :class:`MobileClassifier`. Two fields
    change that for networks of dense prediction.

    Attributes:
      activation: elementwise function of the stem, of the head and, unless the subclass says otherwise, of
        the blocks.
      padding: ``"torch"`` pads equally on both sides, ``"tensorflow"`` as :func:`jaxvision.ops.ceil_padding`,
        which weights trained in TensorFlow need: the two differ where a stride meets an even size.
      output_stride: 32, or 16 or 8 for dense prediction: the strides past it are taken away, and the
        convolutions behind them are dilated instead, as in :class:`jaxvision.backbones.ResNet`.
      dilate_strided: as :class:`jaxvision.backbones.ResNet`.
      taps: which block gives the map of a resolution: ``"last"``, what the next strided block reads, or
        ``"first"``, what the strided block gives, as torchvision's segmentation and detection networks take
        it. The first map is the stem's then, and the last one is the end of the network in any case.
      head_conv: whether ``c5`` has gone through the published head's 1x1 convolution, submodule
        ``head_conv``, as in torchvision's segmentation networks.
      drop_path_rate: probability, times the share of the blocks that lie before, that training drops a
        block's branch for a sample, where there is a sum; a ``"dropout"`` key must then be in ``rngs``.
      norm: makes a normalisation from ``dtype`` and ``name``.
      dtype: dtype of the computation; parameters and statistics stay float32.
    """

    activation: Callable[[jax.Array], jax.Array] = nn.relu6
    padding: Literal["torch", "tensorflow"] = "torch"
    output_stride: int = 32
    dilate_strided: bool = False
    taps: Literal["last", "first"] = "last"
    head_conv: bool = False
    drop_path_rate: float = 0.0
    norm: Callable[..., nn.Module] = BatchNorm
    dtype: DTypeLike | None = None

    @property
    def stem_features(self) -> int:
        """Number of channels of the stem."""
        raise NotImplementedError

    @property
    def stages(self) -> tuple[tuple[MobileBlock, ...], ...]:
        """The blocks, stage by stage; only the first of a stage has a stride."""
        raise NotImplementedError

    @property
    def head_features(self) -> tuple[int, ...]:
        """Number of channels of the published head's 1x1 convolution, then of its hidden layers."""
        raise NotImplementedError

    @property
    def channels(self) -> dict[str, int]:
        """Number of channels of each feature map, for decoders: ``{"c1": 16, ..., "c5": 320}``."""
        stages = self.stages
        strided = [stage[0] for stage in stages if stage[0].strides > 1]
        if self.taps == "first":
            widths = [self.stem_features, *(block.features for block in strided[:-1])]
        else:
            widths = [block.inputs for block in strided]
        last = self.head_features[0] if self.head_conv else stages[-1][-1].features
        return {f"c{level}": width for level, width in enumerate((*widths, last), start=1)}

    @property
    def strides(self) -> dict[str, int]:
        """Stride of each feature map against the image: ``{"c1": 2, ..., "c5": 32}``."""
        return {name: min(2 ** int(name[1:]), self.output_stride) for name in self.channels}

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Computes the features of each level.

        Args:
          images: ``[N, H, W, C]``, floating, normalised, of any size.
          train: whether normalisation uses, and updates, the statistics of this batch.

        Returns:
          ``{"c1": [N, H/2, W/2, C1], ..., "c5": [N, H/32, W/32, C5]}``, sizes rounded up.

        Raises:
          ValueError: for another shape or dtype of images, another ``output_stride``, ``padding`` or
            ``taps``.
        """
        check_layout("images", images, "N H W C", remedy="images are a batch, channels last")
        check_floating(images=images)
        self._check_fields()
        x = ConvNormAct(
            self.stem_features,
            3,
            2,
            self._pad(images, 3, 2, 1),
            norm=self.norm,
            activation=self.activation,
            kernel_init=he_normal_fan_out,
            dtype=self.dtype,
            name="stem",
        )(images, train=train)  # [N, H / 2, W / 2, C1]
        schedule = self._schedule()
        maps = [x] if self.taps == "first" else []
        for depth, (name, block, dilation, is_strided) in enumerate(schedule):
            if is_strided and self.taps == "last":
                maps.append(x)
            x = self._make_block(
                block,
                padding=self._pad(x, block.kernel_size, block.strides, dilation),
                dilation=dilation,
                drop_path_rate=self.drop_path_rate * depth / len(schedule),
                name=name,
            )(x, train=train)  # [N, H / stride, W / stride, features]
            if is_strided and self.taps == "first":
                maps.append(x)
        if self.taps == "first":
            maps.pop()  # of the last resolution the end stands for
        if self.head_conv:
            x = head_convolution(self, self.head_features[0], self.dtype)(x, train=train)
        return {f"c{level}": value for level, value in enumerate((*maps, x), start=1)}

    def _schedule(self) -> list[tuple[str, MobileBlock, int, bool]]:
        """Name, block with its stride here, dilation, and whether it has a stride in the whole network."""
        rows, stride, dilation = [], 2, 1
        for number, stage in enumerate(self.stages, start=1):
            for index, block in enumerate(stage):
                step, spread = block.strides, 1
                if stride * step > self.output_stride:
                    step, spread = 1, step
                stride *= step
                # The block whose stride is taken away reads its input as before, unless it is to be dilated.
                own = dilation * spread if self.dilate_strided else dilation
                name = f"stage{number}_block{index}"
                rows.append((name, block._replace(strides=step), own, block.strides > 1))
                dilation *= spread
        return rows

    def _make_block(
        self, block: MobileBlock, *, padding: Padding | None, dilation: int, drop_path_rate: float, name: str
    ) -> nn.Module:
        """The block as a module; MobileNet V1 has another kind."""
        return InvertedResidual(
            block.features,
            block.strides,
            block.kernel_size,
            padding,
            dilation,
            hidden_features=block.hidden,
            norm=self.norm,
            activation=block.activation,
            attention=block.attention,
            drop_path_rate=drop_path_rate,
            dtype=self.dtype,
            name=name,
        )

    def _pad(self, x: jax.Array, kernel_size: int, strides: int, dilation: int) -> Padding | None:
        """Padding of a convolution of ``x``; None is torch's."""
        if self.padding == "torch":
            return None
        return ceil_padding(x.shape[1:3], kernel_size, strides=strides, dilation=dilation)

    def _check_fields(self) -> None:
        if self.output_stride not in (8, 16, 32):
            raise ValueError(
                f"output_stride: expected 8, 16 or 32, got {self.output_stride}; take one of them"
            )
        if self.padding not in ("torch", "tensorflow"):
            raise ValueError(
                f'padding: expected "torch" or "tensorflow", got {self.padding!r}; take that of the '
                "framework in which the weights were trained"
            )
        if self.taps not in ("last", "first"):
            raise ValueError(f'taps: expected "last" or "first", got {self.taps!r}')


def head_convolution(backbone: MobileBackbone, features: int, dtype: DTypeLike | None) -> ConvNormAct:
    """The 1x1 convolution behind the last block, ``head_conv``, with the backbone's norm and activation.

    Args:
      backbone: the network in front.
      features: number of its channels.
      dtype: dtype of the computation.
    """
    return ConvNormAct(
        features,
        1,
        norm=backbone.norm,
        activation=backbone.activation,
        kernel_init=he_normal_fan_out,
        dtype=dtype,
        name="head_conv",
    )


class MobileClassifier(nn.Module):
    """The head of MobileNetV2, MobileNetV3 and EfficientNet: 1x1 convolution, pooling, linear layers.

    Submodules: ``backbone``, ``head_conv`` (``conv`` and ``norm``), ``hidden1``, ... (MobileNetV3 has one)
    and ``head``. Norm and activation are the backbone's.

    Attributes:
      backbone: the network in front.
      num_classes: number of classes K.
      features: number of channels of ``head_conv``, then of the hidden layers; None takes the backbone's
        ``head_features``, those of the published network.
      dropout_rate: share of the inputs of ``head`` dropped in training.
      dense_init: initialiser of the linear layers; their biases start at zero.
      dtype: dtype of the computation.

    References:
      Sandler et al. 2018, *MobileNetV2*, table 2; Howard et al. 2019, *Searching for MobileNetV3*, figure 5;
      Tan and Le 2019, *EfficientNet*, table 1. Initialised as torchvision's MobileNets; its EfficientNet
      draws ``head`` uniformly from ±``1 / sqrt(K)``.
    """

    backbone: MobileBackbone
    num_classes: int = 1000
    features: tuple[int, ...] | None = None
    dropout_rate: float = 0.2
    dense_init: Initializer = nn.initializers.normal(0.01)
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Maps images ``[N, H, W, C]`` to logits ``[N, K]``, float32.

        With ``train`` and a dropout or drop path rate, a ``"dropout"`` key must be passed in ``rngs``.

        Raises:
          ValueError: as the backbone.
        """
        features = self.backbone.head_features if self.features is None else self.features
        x = take_feature(self.backbone(images, train=train), "c5")
        # [N, H / 32, W / 32, features[0]]
        x = head_convolution(self.backbone, features[0], self.dtype)(x, train=train)
        x = global_average_pool(x)  # [N, features[0]]
        for index, width in enumerate(features[1:], start=1):
            x = self.backbone.activation(self._dense(width, f"hidden{index}")(x))  # [N, width]
        x = Dropout(self.dropout_rate)(x, train=train)
        return self._dense(self.num_classes, "head")(x).astype(jnp.float32)  # [N, K]

    def _dense(self, features: int, name: str) -> nn.Dense:
        return nn.Dense(features, kernel_init=self.dense_init, dtype=self.dtype, name=name)
