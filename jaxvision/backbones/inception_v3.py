"""Inception-v3 (Szegedy et al. 2016): blocks whose large convolutions are factorised into small ones."""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.core import check_floating, check_layout, find_variant
from jaxvision.layers import BatchNorm, ConvNormAct, truncated_normal
from jaxvision.layers.initializers import Initializer
from jaxvision.ops import average_pool, global_average_pool, max_pool
from jaxvision.ops.windows import Size


class _Layer(NamedTuple):
    """A convolution of a branch; of stride 2 without padding, else padded to keep the size."""

    name: str
    features: int
    kernel_size: Size = 1
    strides: int = 1


# A branch is a chain of convolutions; a tuple at its end is a fork, whose outputs lie side by side.
_Branch = tuple["_Layer | tuple[_Layer, ...]", ...]


class _Block(NamedTuple):
    """Branches, and the pooling branch: its convolution, or None for a strided max pooling alone."""

    branches: tuple[_Branch, ...]
    pool_features: int | None


def _block_a(pool_features: int) -> _Block:
    """Figure 5 of the paper, without its change of one 5x5 convolution into two of 3x3."""
    return _Block(
        (
            (_Layer("branch1x1", 64),),
            (_Layer("branch5x5_1", 48), _Layer("branch5x5_2", 64, 5)),
            (_Layer("branch3x3dbl_1", 64), _Layer("branch3x3dbl_2", 96, 3), _Layer("branch3x3dbl_3", 96, 3)),
        ),
        pool_features,
    )


def _block_b() -> _Block:
    """Figure 10: halves the size of 35x35 maps."""
    double = (
        _Layer("branch3x3dbl_1", 64),
        _Layer("branch3x3dbl_2", 96, 3),
        _Layer("branch3x3dbl_3", 96, 3, 2),
    )
    return _Block(((_Layer("branch3x3", 384, 3, 2),), double), None)


def _block_c(width: int) -> _Block:
    """Figure 6 with n = 7: 7x7 convolutions as pairs of 1x7 and 7x1."""
    row, column = (1, 7), (7, 1)
    return _Block(
        (
            (_Layer("branch1x1", 192),),
            (
                _Layer("branch7x7_1", width),
                _Layer("branch7x7_2", width, row),
                _Layer("branch7x7_3", 192, column),
            ),
            (
                _Layer("branch7x7dbl_1", width),
                _Layer("branch7x7dbl_2", width, column),
                _Layer("branch7x7dbl_3", width, row),
                _Layer("branch7x7dbl_4", width, column),
                _Layer("branch7x7dbl_5", 192, row),
            ),
        ),
        192,
    )


def _block_d() -> _Block:
    """Halves the size of 17x17 maps, as figure 10 but with a factorised 7x7 convolution."""
    return _Block(
        (
            (_Layer("branch3x3_1", 192), _Layer("branch3x3_2", 320, 3, 2)),
            (
                _Layer("branch7x7x3_1", 192),
                _Layer("branch7x7x3_2", 192, (1, 7)),
                _Layer("branch7x7x3_3", 192, (7, 1)),
                _Layer("branch7x7x3_4", 192, 3, 2),
            ),
        ),
        None,
    )


def _block_e() -> _Block:
    """Figure 7: filter banks that fork, for the coarsest maps."""

    def fork(name: str) -> tuple[_Layer, _Layer]:
        return _Layer(f"{name}a", 384, (1, 3)), _Layer(f"{name}b", 384, (3, 1))

    return _Block(
        (
            (_Layer("branch1x1", 320),),
            (_Layer("branch3x3_1", 384), fork("branch3x3_2")),
            (_Layer("branch3x3dbl_1", 448), _Layer("branch3x3dbl_2", 384, 3), fork("branch3x3dbl_3")),
        ),
        192,
    )


# Table 1 of the paper; widths and names are those of the authors' TensorFlow model, which torchvision keeps.
_BLOCKS: Mapping[str, _Block] = MappingProxyType(
    {
        "5b": _block_a(32),
        "5c": _block_a(64),
        "5d": _block_a(64),
        "6a": _block_b(),
        "6b": _block_c(128),
        "6c": _block_c(160),
        "6d": _block_c(160),
        "6e": _block_c(192),
        "7a": _block_d(),
        "7b": _block_e(),
        "7c": _block_e(),
    }
)
_TAPS = {"5d": "c3", "6e": "c4", "7c": "c5"}
INCEPTION_V3_VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType({"inception_v3": {}})
"""Fields of :func:`inception_v3` by name; the one there is has none."""


class InceptionV3(nn.Module):
    """The convolutional part of Inception-v3.

    Submodules: ``conv_1a_3x3``, ``conv_2a_3x3``, ``conv_2b_3x3``, ``conv_3b_1x1``, ``conv_4a_3x3`` and
    ``mixed_5b`` to ``mixed_7c``, each of them branches such as ``branch7x7_2``: the authors' names.

    Attributes:
      width: factor of every number of channels, rounded down and at least 1.
      norm: makes a normalisation from ``dtype`` and ``name``.
      kernel_init: initialiser of the kernels; torchvision's.
      dtype: dtype of the computation; parameters and statistics stay float32.
    """

    width: float = 1.0
    norm: Callable[..., nn.Module] = functools.partial(BatchNorm, epsilon=1e-3)
    kernel_init: Initializer = truncated_normal(stddev=0.1)
    dtype: DTypeLike | None = None

    @property
    def channels(self) -> dict[str, int]:
        """Number of channels of each feature map: ``{"c1": 64, "c2": 192, ..., "c5": 2048}``."""
        # In a block of type E the forks have two outputs of 384 each.
        sums = {
            "c1": (64,),
            "c2": (192,),
            "c3": (64, 64, 96, 64),
            "c4": (192, 192, 192, 192),
            "c5": (320, 384, 384, 384, 384, 192),
        }
        return {name: sum(_scaled(features, self.width) for features in row) for name, row in sums.items()}

    @property
    def strides(self) -> dict[str, int]:
        """Nominal stride of each feature map: ``{"c1": 2, ..., "c5": 32}``; see the sizes of a call."""
        return {f"c{level}": 2**level for level in range(1, 6)}

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Computes the features of the stem and of the three groups of blocks.

        Args:
          images: ``[N, H, W, C]``, floating, normalised; at least 75 pixels high and wide.
          train: whether batch normalisation uses, and updates, the statistics of this batch.

        Returns:
          ``{"c1": [N, H1, W1, 64], "c2": 192 channels, "c3": 288, "c4": 768, "c5": 2048}``. Half of the
          convolutions have no padding, so that maps are smaller than the stride says: 147, 71, 35, 17 and 8
          pixels for an image of 299.

        Raises:
          ValueError: for another shape or dtype, or smaller images.
        """
        check_layout("images", images, "N H W C", remedy="images are a batch, channels last")
        check_floating(images=images)
        if min(images.shape[1:3]) < 75:
            raise ValueError(
                f"images: expected at least 75 pixels high and wide, got {list(images.shape)}; the "
                "convolutions without padding leave nothing of smaller ones. Resize them"
            )
        options: dict[str, Any] = {
            "width": self.width,
            "norm": self.norm,
            "kernel_init": self.kernel_init,
            "dtype": self.dtype,
        }

        def convolve(x: jax.Array, name: str, features: int, size: int, **window: Any) -> jax.Array:
            return _conv(features, size, **window, **options, name=name)(x, train=train)

        x = convolve(images, "conv_1a_3x3", 32, 3, strides=2, padding=0)  # [N, (H - 1) // 2, ..., 32]
        x = convolve(x, "conv_2a_3x3", 32, 3, padding=0)  # [N, H1, W1, 32], two pixels less
        x = convolve(x, "conv_2b_3x3", 64, 3)
        outputs = {"c1": x}
        x = max_pool(x, 3, strides=2)  # [N, (H1 - 1) // 2, ..., 64]
        x = convolve(x, "conv_3b_1x1", 80, 1)
        x = convolve(x, "conv_4a_3x3", 192, 3, padding=0)  # [N, H2, W2, 192], two pixels less
        outputs["c2"] = x
        x = max_pool(x, 3, strides=2)  # [N, (H2 - 1) // 2, ..., 192]
        for name, block in _BLOCKS.items():
            x = _Mixed(block, **options, name=f"mixed_{name}")(x, train=train)
            if name in _TAPS:
                outputs[_TAPS[name]] = x
        return outputs


class _Mixed(nn.Module):
    """The branches of a block, and its pooling, side by side."""

    block: _Block
    width: float
    norm: Callable[..., nn.Module]
    kernel_init: Initializer
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        outputs = []
        for branch in self.block.branches:
            y = x
            for step in branch:
                forks = (step,) if isinstance(step, _Layer) else step
                tips = [self._convolve(y, layer, train) for layer in forks]
                y = jnp.concatenate(tips, axis=-1)
            outputs.append(y)
        features = self.block.pool_features
        if features is None:
            outputs.append(max_pool(x, 3, strides=2))  # [N, (H - 1) // 2, (W - 1) // 2, C]
        else:
            pooled = average_pool(x, 3, strides=1, padding=1)
            outputs.append(self._convolve(pooled, _Layer("branch_pool", features), train))
        return jnp.concatenate(outputs, axis=-1)

    def _convolve(self, x: jax.Array, layer: _Layer, train: bool) -> jax.Array:
        return _conv(
            layer.features,
            layer.kernel_size,
            strides=layer.strides,
            padding=None if layer.strides == 1 else 0,
            width=self.width,
            norm=self.norm,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
            name=layer.name,
        )(x, train=train)


class InceptionV3Classifier(nn.Module):
    """Global average pooling, dropout and a linear layer; in training also an auxiliary head, if asked.

    Submodules: ``backbone``, ``head`` and, with ``aux_heads``, ``aux_head``: ``conv0``, ``conv1`` and
    ``head``. A call returns the main logits alone. With ``aux_heads`` and ``train`` those of the auxiliary
    head are written to the collection ``"aux_logits"``, if it is mutable: ``logits, updates =
    model.apply(variables, images, train=True, mutable=["batch_stats", "aux_logits"])``, then
    ``updates["aux_logits"]["aux"]``.

    Attributes:
      backbone: an :class:`InceptionV3`.
      num_classes: number of classes K.
      aux_heads: whether the network has the auxiliary head, on c4.
      dropout_rate: share of pooled features dropped in training.
      dtype: dtype of the computation.

    References:
      Szegedy et al. 2016, section 4 and figure 8. Initialised as torchvision's.
    """

    backbone: InceptionV3
    num_classes: int = 1000
    aux_heads: bool = False
    dropout_rate: float = 0.5
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Maps images ``[N, H, W, C]`` to logits ``[N, K]``, float32.

        With ``train`` and a dropout rate, a ``"dropout"`` key must be passed in ``rngs``.

        Raises:
          ValueError: as the backbone; or if the auxiliary head, in initialisation or training, gets an image
            of less than 299 pixels.
        """
        features = self.backbone(images, train=train)
        # In evaluation nothing reads the auxiliary head; initialisation makes its parameters in either mode.
        if self.aux_heads and (train or self.is_initializing()):
            aux = _AuxiliaryHead(
                self.num_classes, self.backbone.width, self.backbone.norm, self.dtype, name="aux_head"
            )
            logits = aux(features["c4"], train=train)  # [N, K]
            if not self.is_initializing():
                self.sow("aux_logits", "aux", logits, reduce_fn=lambda _, new: new)
        x = global_average_pool(features["c5"])  # [N, 2048]
        x = nn.Dropout(self.dropout_rate)(x, deterministic=not train)
        init = truncated_normal(stddev=0.1)
        head = nn.Dense(self.num_classes, kernel_init=init, dtype=self.dtype, name="head")
        return head(x).astype(jnp.float32)  # [N, K]


class _AuxiliaryHead(nn.Module):
    """Figure 8: pooling and two convolutions to one pixel, then a linear layer."""

    num_classes: int
    width: float
    norm: Callable[..., nn.Module]
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        if min(x.shape[1:3]) < 17:
            raise ValueError(
                f"aux_heads: expected images of at least 299 pixels, whose c4 has 17, got {list(x.shape)}; "
                "resize the images, or build the network without the auxiliary head"
            )
        options: dict[str, Any] = {"width": self.width, "norm": self.norm, "dtype": self.dtype, "padding": 0}
        x = average_pool(x, 5, strides=3)  # [N, 5, 5, C] for an image of 299
        for name, features, size, stddev in (("conv0", 128, 1, 0.1), ("conv1", 768, 5, 0.01)):
            conv = _conv(features, size, kernel_init=truncated_normal(stddev=stddev), **options, name=name)
            x = conv(x, train=train)  # [N, 5, 5, 128], then [N, 1, 1, 768]
        x = global_average_pool(x)  # [N, C]
        init = truncated_normal(stddev=0.001)
        head = nn.Dense(self.num_classes, kernel_init=init, dtype=self.dtype, name="head")
        return head(x).astype(jnp.float32)  # [N, K]


def _scaled(features: int, width: float) -> int:
    return max(1, int(features * width))


def _conv(features: int, kernel_size: Size, *, width: float, **fields: Any) -> ConvNormAct:
    return ConvNormAct(_scaled(features, width), kernel_size, **fields)


def inception_v3(variant: str, **overrides: Any) -> InceptionV3:
    """Builds an Inception-v3 backbone by name.

    Args:
      variant: a key of :data:`INCEPTION_V3_VARIANTS`.
      **overrides: fields of :class:`InceptionV3` to set or replace.

    Returns:
      The module, without parameters.

    Raises:
      ValueError: for an unknown variant.

    References:
      Szegedy et al. 2016, *Rethinking the Inception Architecture for Computer Vision*, table 1 and figures 5
      to 8 and 10; as torchvision's, which follows the authors' published weights. They depart from the paper
      in the 5x5 convolutions of the first blocks, which figure 5 splits, and in the widths, which it does not
      give.

    >>> inception_v3("inception_v3").channels
    {'c1': 64, 'c2': 192, 'c3': 288, 'c4': 768, 'c5': 2048}
    """
    fields = find_variant("Inception-v3 variant", variant, INCEPTION_V3_VARIANTS)
    return InceptionV3(**{**fields, **overrides})
