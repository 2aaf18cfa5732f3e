"""Semantic FPN (Kirillov et al. 2019): the levels of a feature pyramid, brought to one size and added."""

import functools
from collections.abc import Sequence
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.layers import (
    Conv,
    ConvNormAct,
    FeaturePyramid,
    GroupNorm,
    SpatialDropout,
    he_uniform,
    xavier_uniform,
)
from jaxvision.layers.initializers import Initializer
from jaxvision.ops import resize
from jaxvision.segmentation.heads import enlarge_scores, take_level
from jaxvision.segmentation.resolution import check_image_batch


class SemanticFPN(nn.Module):
    """A feature pyramid whose levels go through 3x3 convolutions and doublings to the finest one's size.

    Submodules: ``backbone``; ``pyramid`` (:class:`jaxvision.layers.FeaturePyramid`); ``p{level}_conv{i}``,
    counted from 0, each with ``conv`` and ``norm``, a group normalisation; ``head``.

    A level is enlarged step by step to the sizes of the next finer ones; so images of any size pass, without
    padding, and for multiples of 32, which the reference takes alone, that is its doubling.

    Attributes:
      backbone: module that maps images to ``{"c1": ..., "c5": ...}``.
      num_classes: number of classes K, background included.
      pyramid_features: number of channels of the pyramid.
      features: number of channels of the convolutions behind it, a multiple of ``num_groups``.
      levels: the backbone's maps that the pyramid reads, finest first.
      smooth: whether the pyramid has its 3x3 convolutions, as in the paper; segmentation_models.pytorch's has
        none.
      merge: whether the levels are added, ``"add"``, or laid side by side, the coarsest first,
        ``"concatenate"``.
      num_groups: of the group normalisations.
      dropout_rate: share of the channels dropped in front of the scores in training, whole ones;
        segmentation_models.pytorch's, the paper has none.
      align_corners: whether corner pixels lie on each other where a map is enlarged, as there.
      kernel_init: initialiser of the kernels behind the backbone but for ``head``, which is Glorot uniform.
      dtype: dtype of the computation behind the backbone; parameters, statistics and logits stay float32.

    References:
      Kirillov et al. 2019, *Panoptic Feature Pyramid Networks*, section 3.1 and figure 3. Layout, widths and
      initialisation as ``FPN`` of segmentation_models.pytorch 0.5.
    """

    backbone: nn.Module
    num_classes: int
    pyramid_features: int = 256
    features: int = 128
    levels: Sequence[str] = ("c2", "c3", "c4", "c5")
    smooth: bool = False
    merge: Literal["add", "concatenate"] = "add"
    num_groups: int = 32
    dropout_rate: float = 0.2
    align_corners: bool = True
    kernel_init: Initializer = he_uniform()
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Scores each pixel.

        Args:
          images: ``[N, H, W, C]``, floating, normalised, of any size that the backbone takes.
          train: whether dropout and the backbone's batch statistics are those of training; then a
            ``"dropout"`` key must be passed in ``rngs``.

        Returns:
          Logits ``[N, H, W, K]``, float32.

        Raises:
          ValueError: for another shape or dtype, an empty image, a feature map that the backbone lacks,
            ``features`` that the groups do not divide, or an unknown ``merge``.
        """
        if self.merge not in ("add", "concatenate"):
            raise ValueError(f'merge: expected "add" or "concatenate", got {self.merge!r}')
        check_image_batch(images)
        maps = self.backbone(images, train=train)
        pyramid = FeaturePyramid(
            self.pyramid_features,
            self.levels,
            smooth=self.smooth,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
            name="pyramid",
        )({level: take_level(maps, level, field="levels") for level in self.levels}, train=train)
        sizes = [value.shape[1:3] for value in pyramid.values()]
        refined = [
            self._refine(value, name, sizes[:index], train)
            for index, (name, value) in enumerate(pyramid.items())
        ]  # each [N, H / 4, W / 4, features]
        if self.merge == "add":
            x = functools.reduce(jnp.add, refined)
        else:
            x = jnp.concatenate(refined[::-1], axis=-1)  # [N, H / 4, W / 4, features * levels]
        x = SpatialDropout(self.dropout_rate)(x, train=train)
        head = Conv(self.num_classes, 1, kernel_init=xavier_uniform(), dtype=self.dtype, name="head")
        size = (images.shape[1], images.shape[2])
        return enlarge_scores(head(x), size, align_corners=self.align_corners)

    def _refine(self, x: jax.Array, name: str, finer: Sequence[tuple[int, ...]], train: bool) -> jax.Array:
        """Convolutions with an enlargement to each finer size behind them; one alone for the finest level."""
        for index in range(max(1, len(finer))):
            x = ConvNormAct(
                self.features,
                3,
                norm=functools.partial(GroupNorm, self.num_groups),
                kernel_init=self.kernel_init,
                dtype=self.dtype,
                name=f"{name}_conv{index}",
            )(x, train=train)
            if finer:
                x = resize(x, finer[-1 - index], align_corners=self.align_corners)
        return x
