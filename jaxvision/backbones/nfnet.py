"""NFNet (Brock et al. 2021): residual nets that standardise kernels in place of normalising activations."""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.backbones.classifier import take_feature
from jaxvision.core import check_floating, check_layout, check_stages, find_variant
from jaxvision.layers import Dropout, DropPath, SqueezeExcitation, StandardizedConv, lecun_normal
from jaxvision.ops import average_pool, gelu, global_average_pool
from jaxvision.ops.windows import Padding

# One over the standard deviation of GELU of a standard normal variable: the constant of the paper's code.
GELU_GAIN = 1.7015043497085571

_F0, _F1, _F2, _F3 = (1, 2, 6, 3), (2, 4, 12, 6), (3, 6, 18, 9), (4, 8, 24, 12)
_TIMM = MappingProxyType({"gain_in_conv": True, "same_padding": False, "use_skip_gain": False})

NFNET_VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "dm_nfnet_f0": {"blocks": _F0},
        "dm_nfnet_f1": {"blocks": _F1},
        "dm_nfnet_f2": {"blocks": _F2},
        "dm_nfnet_f3": {"blocks": _F3},
        "nfnet_f0": {"blocks": _F0, **_TIMM},
        "nfnet_f1": {"blocks": _F1, **_TIMM},
        "nfnet_f2": {"blocks": _F2, **_TIMM},
        "nfnet_f3": {"blocks": _F3, **_TIMM},
    }
)
"""Fields of :func:`nfnet` by name.

Brock et al. 2021, table 1 (depths) and section 5 (widths). dm_nfnet_* are the paper's; nfnet_* are a form of
timm's: the factors of the activations inside the kernels, torch's padding, no skip gains. The names are
timm's.
"""


class NFNetRecipe(NamedTuple):
    """How the paper trains and tests a net.

    Attributes:
      train_size: side of the images in training, in pixels.
      test_size: side of the images in tests, in pixels.
      dropout_rate: of :class:`NFNetClassifier`.
      drop_path_rate: of :class:`NFNet`.
    """

    train_size: int
    test_size: int
    dropout_rate: float
    drop_path_rate: float = 0.25


NFNET_RECIPES: Mapping[str, NFNetRecipe] = MappingProxyType(
    {
        "f0": NFNetRecipe(192, 256, 0.2),
        "f1": NFNetRecipe(224, 320, 0.3),
        "f2": NFNetRecipe(256, 352, 0.4),
        "f3": NFNetRecipe(320, 416, 0.4),
    }
)
"""What each network is trained and tested with.

Brock et al. 2021, table 1; the rate of stochastic depth is that of its code's experiment.
"""


class NFBlock(nn.Module):
    """A residual branch of four convolutions, scaled so that the variance grows by a known step.

    .. math:: y = s(x) + \\alpha\\, g\\, f(\\beta\\, \\sigma(x))

    ``f`` is a 1x1, two grouped 3x3 and a 1x1 convolution with activations between them, and twice a
    squeeze-and-excitation; ``s`` is the identity or, where the shape changes, a 2x2 average pooling (at
    stride 2) and a 1x1 convolution of ``beta sigma(x)``. Submodules: ``conv1``, ``conv2``, ``conv2b``,
    ``conv3``, ``attention`` and ``shortcut_conv``; parameter ``skip_gain``, the scalar ``g``, first 0.

    Attributes:
      features: number of output channels; the 3x3 convolutions have half as many.
      strides: of ``conv2`` and of the shortcut, 1 or 2.
      group_size: channels of a group of the 3x3 convolutions.
      alpha: factor of the branch.
      beta: one over the expected standard deviation of the input.
      use_skip_gain: whether there is a ``g``; otherwise the gain of ``conv3`` starts at 0.
      same_padding: whether a convolution of stride 2 pads an image of even size at the bottom and right only,
        as TensorFlow does, or every image by 1 on each side.
      drop_path_rate: probability that training drops the branch of a sample.
      activation: the elementwise function ``sigma``.
      activation_gain: factor of the kernels that makes up for an activation of less than unit variance.
      dtype: dtype of the computation.

    References:
      Brock et al. 2021, *High-Performance Large-Scale Image Recognition Without Normalization*, sections 3
      and 5; the skip gain is of De and Smith 2020, *Batch Normalization Biases Residual Blocks Towards the
      Identity Function in Deep Networks*.
    """

    features: int
    strides: int = 1
    group_size: int = 128
    alpha: float = 0.2
    beta: float = 1.0
    use_skip_gain: bool = True
    same_padding: bool = True
    drop_path_rate: float = 0.0
    activation: Callable[[jax.Array], jax.Array] = gelu
    activation_gain: float = 1.0
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps images ``[N, H, W, C]`` to ``[N, ceil(H / strides), ceil(W / strides), features]``.

        Raises:
          ValueError: if half of ``features`` is no multiple of ``group_size``, or for other ``strides``.
        """
        width = self._width()
        groups = width // self.group_size
        y = self.activation(x) * self.beta
        if self.strides != 1 or x.shape[-1] != self.features:
            x = y if self.strides == 1 else _halve(y)  # [N, H', W', C]
            x = self._conv(self.features, 1, "shortcut_conv")(x)  # [N, H', W', features]
        y = self._conv(width, 1, "conv1")(y)  # [N, H, W, width]
        padding = _padding(y, self.strides, self.same_padding)
        y = self._conv(width, 3, "conv2", strides=self.strides, padding=padding, groups=groups)(
            self.activation(y)
        )  # [N, H', W', width]
        y = self._conv(width, 3, "conv2b", padding=1, groups=groups)(self.activation(y))
        zeros, ones = nn.initializers.zeros_init(), nn.initializers.ones_init()
        y = self._conv(self.features, 1, "conv3", gain_init=ones if self.use_skip_gain else zeros)(
            self.activation(y)
        )  # [N, H', W', features]
        squeeze = SqueezeExcitation(reduction=2, kernel_init=lecun_normal, dtype=self.dtype, name="attention")
        y = 2 * squeeze(y, train=train)  # a gate is a half on average at first
        y = DropPath(self.drop_path_rate, name="drop_path")(y, train=train)
        if self.use_skip_gain:
            y = y * self.param("skip_gain", zeros, (), jnp.float32).astype(y.dtype)
        return x.astype(y.dtype) + self.alpha * y

    def _conv(self, features: int, size: int, name: str, **fields: Any) -> StandardizedConv:
        return _scaled_conv(
            features, size, name, activation_gain=self.activation_gain, dtype=self.dtype, **fields
        )

    def _width(self) -> int:
        if self.features % (2 * self.group_size):
            raise ValueError(
                f"features: expected a multiple of {2 * self.group_size}, of whose half the 3x3 convolutions "
                f"make groups of {self.group_size}, got {self.features}"
            )
        if self.strides not in (1, 2):
            raise ValueError(f"strides: expected 1 or 2, got {self.strides}")
        return self.features // 2


class NFNet(nn.Module):
    """The convolutional part of an NFNet.

    Submodules: ``stem_conv1`` to ``stem_conv4`` and ``stage{s}_block{i}``, stages counted from 1 and blocks
    from 0. The stem is four 3x3 convolutions, the first and last of stride 2; the first block of each stage
    but the first has stride 2.

    Attributes:
      blocks: number of blocks in each stage.
      features: number of output channels of each stage.
      stem_features: number of channels of the stem's last convolution; those before have an eighth, a
        quarter and a half of it.
      group_size: channels of a group of the 3x3 convolutions.
      alpha: factor of each block's branch: the variance grows by ``alpha ** 2`` a block.
      activation: elementwise function.
      activation_gain: one over the standard deviation of the activation of a standard normal variable.
      gain_in_conv: whether that multiplies the kernels in place of the activations.
      same_padding: whether convolutions of stride 2 pad as TensorFlow does; see :class:`NFBlock`.
      use_skip_gain: whether each branch has a learned factor that starts at 0; see :class:`NFBlock`.
      drop_path_rate: probability that training drops the last block's branch for a sample; it rises linearly
        from 0 in the first block, as timm's. A ``"dropout"`` key must then be in ``rngs``.
      dtype: dtype of the computation; parameters stay float32.
    """

    blocks: tuple[int, ...] = _F0
    features: tuple[int, ...] = (256, 512, 1536, 1536)
    stem_features: int = 128
    group_size: int = 128
    alpha: float = 0.2
    activation: Callable[[jax.Array], jax.Array] = gelu
    activation_gain: float = GELU_GAIN
    gain_in_conv: bool = False
    same_padding: bool = True
    use_skip_gain: bool = True
    drop_path_rate: float = 0.0
    dtype: DTypeLike | None = None

    @property
    def channels(self) -> dict[str, int]:
        """Number of channels of each feature map: ``{"c1": 64, ..., "c5": 1536}``."""
        widths = (self.stem_features // 2, *self.features)
        return {f"c{level}": width for level, width in enumerate(widths, start=1)}

    @property
    def strides(self) -> dict[str, int]:
        """Stride of each feature map against the image: ``{"c1": 2, ..., "c5": 32}``."""
        return {f"c{level}": 2**level for level in range(1, len(self.features) + 2)}

    @property
    def kernel_gain(self) -> float:
        """Factor of the standardised kernels."""
        return self.activation_gain if self.gain_in_conv else 1.0

    @property
    def scaled_activation(self) -> Callable[[jax.Array], jax.Array]:
        """The activation times the factor that the kernels do not have."""
        return functools.partial(_amplify, self.activation, self.activation_gain / self.kernel_gain)

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Computes the features of the stem and of each stage.

        Args:
          images: ``[N, H, W, C]``, floating, normalised, of any size.
          train: whether to drop branches; without a rate it changes nothing.

        Returns:
          ``{"c1": [N, H/2, W/2, 64], "c2": [N, H/4, W/4, C2], ..., "c5": [N, H/32, W/32, C5]}``, sizes
          rounded up: the stem's third convolution and the four stages, each before the next activation.

        Raises:
          ValueError: for another shape or dtype of images, ``blocks`` and ``features`` of unequal length, or
            widths that are no multiples of the groups.
        """
        check_layout("images", images, "N H W C", remedy="images are a batch, channels last")
        check_floating(images=images)
        self._check_fields()
        x, outputs = images, {}
        for layer, (share, strides) in enumerate(((8, 2), (4, 1), (2, 1), (1, 2)), start=1):
            x = _scaled_conv(
                self.stem_features // share,
                3,
                f"stem_conv{layer}",
                strides=strides,
                padding=_padding(x, strides, self.same_padding),
                activation_gain=self.kernel_gain,
                dtype=self.dtype,
            )(x if layer == 1 else self.scaled_activation(x))  # [N, H / 2, W / 2, stem_features / share]
            if layer == 3:
                outputs["c1"] = x
        variance, depth = 1.0, 0  # x: [N, H / 4, W / 4, stem_features]
        for stage, (count, width) in enumerate(zip(self.blocks, self.features, strict=True), start=1):
            for index in range(count):
                strides = 2 if stage > 1 and index == 0 else 1
                x = self._make_block(stage, index, width, strides, variance, depth)(x, train=train)
                # The first block's shortcut is a convolution of unit variance.
                variance = self.alpha**2 + (1.0 if index == 0 else variance)
                depth += 1
            outputs[f"c{stage + 1}"] = x  # [N, H / stride, W / stride, width]
        return outputs

    def _make_block(
        self, stage: int, index: int, features: int, strides: int, variance: float, depth: int
    ) -> NFBlock:
        return NFBlock(
            features,
            strides,
            self.group_size,
            self.alpha,
            beta=variance**-0.5,
            use_skip_gain=self.use_skip_gain,
            same_padding=self.same_padding,
            drop_path_rate=self.drop_path_rate * depth / max(sum(self.blocks) - 1, 1),
            activation=self.scaled_activation,
            activation_gain=self.kernel_gain,
            dtype=self.dtype,
            name=f"stage{stage}_block{index}",
        )

    def _check_fields(self) -> None:
        check_stages(blocks=self.blocks, features=self.features)
        if self.stem_features % 8:
            raise ValueError(f"stem_features: expected a multiple of 8, got {self.stem_features}")


class NFNetClassifier(nn.Module):
    """A last 1x1 convolution, global average pooling and one linear layer.

    Submodules: ``backbone``, ``final_conv``, ``head``.

    Attributes:
      backbone: an :class:`NFNet`.
      num_classes: number of classes K.
      expansion: channels of ``final_conv`` per channel of the last stage.
      dropout_rate: share of pooled features dropped in training; the paper's are in :data:`NFNET_RECIPES`.
      dtype: dtype of the computation.

    References:
      Brock et al. 2021, section 5; the head starts from N(0, 0.01) as in its code.
    """

    backbone: NFNet
    num_classes: int = 1000
    expansion: int = 2
    dropout_rate: float = 0.0
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Maps images ``[N, H, W, C]`` to logits ``[N, K]``, float32.

        With ``train`` and a dropout rate, a ``"dropout"`` key must be passed in ``rngs``.

        Raises:
          ValueError: as the backbone, or if it has no c5.
        """
        x = take_feature(self.backbone(images, train=train), "c5")
        conv = _scaled_conv(
            self.expansion * x.shape[-1],
            1,
            "final_conv",
            activation_gain=self.backbone.kernel_gain,
            dtype=self.dtype,
        )
        x = self.backbone.scaled_activation(conv(x))  # [N, H / 32, W / 32, expansion * C5]
        x = global_average_pool(x)  # [N, expansion * C5]
        x = Dropout(self.dropout_rate)(x, train=train)
        init = nn.initializers.normal(0.01)
        logits = nn.Dense(self.num_classes, kernel_init=init, dtype=self.dtype, name="head")(x)  # [N, K]
        return logits.astype(jnp.float32)


def _scaled_conv(features: int, kernel_size: int, name: str, **fields: Any) -> StandardizedConv:
    """A standardised convolution as timm's NFNets have it."""
    return StandardizedConv(
        features, kernel_size, kernel_init=lecun_normal, epsilon=1e-5, name=name, **fields
    )


def _padding(x: jax.Array, strides: int, same: bool) -> Padding:
    """Of a 3x3 convolution."""
    if strides == 1 or not same:
        return 1
    top, left = (size % 2 for size in x.shape[1:3])
    return (top, 1), (left, 1)


def _halve(x: jax.Array) -> jax.Array:
    """Means of 2x2 pixels, of fewer at the end of an odd size: ``[N, H, W, C] -> [N, H / 2, W / 2, C]``."""
    window = tuple(min(2, size) for size in x.shape[1:3])
    return average_pool(x, window, strides=2, ceil_mode=True)


def _amplify(activation: Callable[[jax.Array], jax.Array], gain: float, x: jax.Array) -> jax.Array:
    return activation(x) * gain


def nfnet(variant: str, **overrides: Any) -> NFNet:
    """Builds an NFNet backbone by name.

    Args:
      variant: a key of :data:`NFNET_VARIANTS`.
      **overrides: fields of :class:`NFNet` to set or replace.

    Returns:
      The module, without parameters.

    Raises:
      ValueError: for an unknown variant.

    References:
      Brock et al. 2021, *High-Performance Large-Scale Image Recognition Without Normalization*, section 5 and
      table 1. Equal to timm's, which differs from the paper's code in rounding: the exact GELU where that has
      the tanh formula, and an epsilon that is added to a kernel's variance, not a lower bound of it. Train it
      with ``adaptive_clip`` of :mod:`jaxvision.optimizers`.

    >>> nfnet("dm_nfnet_f0").channels
    {'c1': 64, 'c2': 256, 'c3': 512, 'c4': 1536, 'c5': 1536}
    """
    fields = find_variant("NFNet variant", variant, NFNET_VARIANTS)
    return NFNet(**{**fields, **overrides})
