"""Vision transformer (Dosovitskiy et al. 2021): an image as a sequence of patches."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.core import check_floating, check_layout, find_variant
from jaxvision.layers import Dropout, LayerNorm, LearnedPositions, PatchEmbed, TransformerBlock
from jaxvision.ops import global_average_pool


def _row(patch_size: int, features: int, depth: int, num_heads: int) -> Mapping[str, Any]:
    return {
        "patch_size": patch_size,
        "features": features,
        "depth": depth,
        "num_heads": num_heads,
        "mlp_features": 4 * features,
    }


VIT_VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "vit_tiny_patch16_224": _row(16, 192, 12, 3),
        "vit_small_patch16_224": _row(16, 384, 12, 6),
        "vit_base_patch16_224": _row(16, 768, 12, 12),
        "vit_b_16": _row(16, 768, 12, 12),
        "vit_b_32": _row(32, 768, 12, 12),
        "vit_l_16": _row(16, 1024, 24, 16),
        "vit_l_32": _row(32, 1024, 24, 16),
        "vit_h_14": _row(14, 1280, 32, 16),
    }
)
"""Fields of :func:`vit` by name.

Base, Large and Huge: Dosovitskiy et al. 2021, table 1. Tiny and Small: Touvron et al. 2021, *Training
data-efficient image transformers*, table 1. vit_b_16 to vit_h_14 are torchvision's names, the others timm's
(vit_base_patch16_224 is vit_b_16 with other published weights).
"""


class ViT(nn.Module):
    """The encoder of a vision transformer: patches and a class token through blocks of self-attention.

    Parameter ``class_token`` ``[features]``; submodules ``patch_embed``, ``positions``, ``block{i}``, counted
    from 0, and ``final_norm``.

    Attributes:
      patch_size: pixels of a patch's side.
      features: size D of the tokens.
      depth: number of blocks.
      num_heads: heads of each block's attention.
      mlp_features: hidden channels of each block's perceptron.
      image_size: side of the square images that the table of positions is made for, in pixels. For other
        images it is interpolated: bicubic and antialiased, as timm's ``dynamic_img_size=True``. torchvision's
        takes no others.
      use_final_norm: whether the last block's output is normalised; timm's ``global_pool="avg"`` normalises
        behind its pooling instead.
      dropout_rate: probability that an element is zeroed in training, of the tokens, of the branches and of
        the perceptrons' hidden channels: torchvision's ``dropout``. A ``"dropout"`` key must then be in
        ``rngs``.
      attention_dropout_rate: probability that a weight of the attention is zeroed in training.
      drop_path_rate: probability that training drops a branch of the last block for a sample; it rises
        linearly from 0 in the first block, as timm's.
      dtype: dtype of the computation; parameters stay float32.
    """

    patch_size: int = 16
    features: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_features: int = 3072
    image_size: int = 224
    use_final_norm: bool = True
    dropout_rate: float = 0.0
    attention_dropout_rate: float = 0.0
    drop_path_rate: float = 0.0
    dtype: DTypeLike | None = None

    @property
    def channels(self) -> dict[str, int]:
        """Number of channels of the feature map: ``{"c4": 768}``."""
        return {self._level: self.features}

    @property
    def strides(self) -> dict[str, int]:
        """Stride of the feature map against the image, which is the patch's side: ``{"c4": 16}``."""
        return {self._level: self.patch_size}

    @property
    def _level(self) -> str:
        return f"c{round(math.log2(self.patch_size))}"

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Computes the last block's tokens.

        Args:
          images: ``[N, H, W, C]``, floating, normalised; whole patches high and wide.
          train: whether to drop elements and branches; without rates it changes nothing.

        Returns:
          ``{"c4": [N, H/16, W/16, D], "class_token": [N, D]}``, normalised. The map of the patches' tokens is
          named by its stride as that of a convolutional net: ``c5`` for patches of 32, ``c3`` of 8; of 14 it
          is ``c4``, nearest.

        Raises:
          ValueError: for another shape or dtype of images, sizes that are no multiples of the patch's, or
            ``num_heads`` that do not divide ``features``.
        """
        check_layout("images", images, "N H W C", remedy="images are a batch, channels last")
        check_floating(images=images)
        x = self._embed(images)  # [N, H/p, W/p, D]
        number, height, width, _ = x.shape
        token = self.param("class_token", nn.initializers.zeros_init(), (self.features,), jnp.float32)
        token = jnp.broadcast_to(token.astype(x.dtype), (number, 1, self.features))
        x = jnp.concatenate(
            [token, x.reshape(number, height * width, self.features)], axis=1
        )  # [N, 1 + H/p W/p, D]
        x = LearnedPositions(
            (self._grid, self._grid),
            class_tokens=1,
            interpolate=True,
            antialias=True,
            dtype=self.dtype,
            name="positions",
        )(x, grid=(height, width))
        x = Dropout(self.dropout_rate)(x, train=train)
        for index in range(self.depth):
            x = TransformerBlock(
                self.num_heads,
                self.mlp_features,
                dropout_rate=self.dropout_rate,
                attention_dropout_rate=self.attention_dropout_rate,
                drop_path_rate=self.drop_path_rate * index / max(self.depth - 1, 1),
                dtype=self.dtype,
                name=f"block{index}",
            )(x, train=train)
        if self.use_final_norm:
            x = LayerNorm(epsilon=1e-6, dtype=self.dtype, name="final_norm")(x, train=train)
        tokens = x[:, 1:].reshape(number, height, width, self.features)
        return {self._level: tokens, "class_token": x[:, 0]}

    def _embed(self, images: jax.Array) -> jax.Array:
        return PatchEmbed(
            self.features, self.patch_size, flatten=False, dtype=self.dtype, name="patch_embed"
        )(images)

    @property
    def _grid(self) -> int:
        grid, rest = divmod(self.image_size, self.patch_size)
        if rest or not grid:
            raise ValueError(
                f"image_size: expected a multiple of the patch's {self.patch_size} pixels, got "
                f"{self.image_size}"
            )
        return grid


class ViTClassifier(nn.Module):
    """A linear layer on the class token, or on the mean of the patches' tokens.

    Submodules: ``backbone``, ``head`` and, over a backbone without ``use_final_norm``, ``head_norm``.

    Attributes:
      backbone: a :class:`ViT`.
      num_classes: number of classes K.
      pooling: ``"token"``, or ``"average"`` of the patches. Over a backbone without ``use_final_norm`` the
        pooled vector is normalised: ``"average"`` is then timm's ``global_pool="avg"``, and otherwise that
        with ``fc_norm=False``.
      dropout_rate: share of the pooled vector dropped in training.
      dtype: dtype of the computation.

    References:
      Dosovitskiy et al. 2021, section 3.1 and appendix D.3. As the paper's for fine-tuning and torchvision's,
      the head starts from zeros and has no hidden layer.
    """

    backbone: ViT
    num_classes: int = 1000
    pooling: str = "token"
    dropout_rate: float = 0.0
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Maps images ``[N, H, W, C]`` to logits ``[N, K]``, float32.

        With ``train`` and a dropout rate, a ``"dropout"`` key must be passed in ``rngs``.

        Raises:
          ValueError: as the backbone, or for an unknown ``pooling``.
        """
        features = self.backbone(images, train=train)
        if self.pooling == "token":
            x = features["class_token"]  # [N, D]
        elif self.pooling == "average":
            (level,) = self.backbone.channels
            x = global_average_pool(features[level])  # [N, D]
        else:
            raise ValueError(f"pooling: expected 'token' or 'average', got {self.pooling!r}")
        if not self.backbone.use_final_norm:
            x = LayerNorm(epsilon=1e-6, dtype=self.dtype, name="head_norm")(x, train=train)
        x = Dropout(self.dropout_rate)(x, train=train)
        head = nn.Dense(
            self.num_classes, kernel_init=nn.initializers.zeros_init(), dtype=self.dtype, name="head"
        )
        return head(x).astype(jnp.float32)  # [N, K]


def vit(variant: str, **overrides: Any) -> ViT:
    """Builds a vision transformer by name.

    Args:
      variant: a key of :data:`VIT_VARIANTS`.
      **overrides: fields of :class:`ViT` to set or replace.

    Returns:
      The module, without parameters.

    Raises:
      ValueError: for an unknown variant.

    References:
      Dosovitskiy et al. 2021, *An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale*,
      section 3.1, equations 1 to 4. Equal to torchvision's and, at the table's size and with
      ``dynamic_img_size=True`` at others, to timm's. Initialised as the paper's code: query, key and value
      each by Glorot's uniform distribution, where torchvision draws the three as one matrix.

    >>> vit("vit_small_patch16_224").channels
    {'c4': 384}
    >>> vit("vit_b_32").strides
    {'c5': 32}
    """
    fields = find_variant("ViT variant", variant, VIT_VARIANTS)
    return ViT(**{**fields, **overrides})
