"""UNet++ (Zhou et al. 2018): nested U-Nets of every depth that share an encoder."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.layers import BatchNorm, Conv, xavier_uniform
from jaxvision.ops import resize
from jaxvision.segmentation.backbone_unet import UpsampleBlock
from jaxvision.segmentation.linknet import halving_maps
from jaxvision.segmentation.resolution import check_image_batch


class UNetPlusPlus(nn.Module):
    """The network of figure 1 on any backbone whose feature maps halve each other's size.

    A node reads the node below it, enlarged, and every node and feature map to its left on its own level.
    Submodules: ``backbone``; ``node_{d}_{l}``, each a :class:`jaxvision.segmentation.UpsampleBlock`, by the
    numbers of the reference: level ``l`` from 0 (half the coarsest map's stride) to fine, and ``d`` from
    ``l``, the first node of a level, down to 0, the last; with five maps it is the paper's
    :math:`X^{3-l,\\; l-d+1}`. The node ``node_0_{L}`` behind them enlarges to the image. ``head`` is a 3x3
    convolution.

    Deep supervision (section 3.2) puts a 1x1 convolution ``aux_head{j}`` on each node ``j`` of the finest
    level but the last, which ``head`` scores, and enlarges its scores to the image. In training a call
    returns the scores of ``head``, and writes the others to the collection ``"aux_logits"`` (``"branch1"``,
    ...), if it is mutable; the paper weighs all losses alike. In evaluation it returns the mean of all
    scores, the paper's accurate mode (there it is the mean of probabilities, which are no logits), or with
    ``prune_to`` those of one branch, its fast mode: what the branch does not read is not computed.

    Attributes:
      backbone: module that maps images to a dict of features and declares their ``strides``, which must be
        2, 4, 8 and so on.
      num_classes: number of classes K, background included.
      features: number of channels of each level's last node and of the node at the size of the image, one
        number a feature map; the other nodes have as many as their level's feature map.
      deep_supervision: whether the network has the additional heads.
      prune_to: with ``deep_supervision``, the branch that evaluation returns, from 1; the last is that of
        ``head``. None returns the mean.
      attention: as the blocks' of :class:`jaxvision.segmentation.BackboneUNet`.
      norm: makes the decoder's normalisations from ``dtype`` and ``name``; None leaves them out.
      dtype: dtype of the computation of decoder and heads; parameters, statistics and logits stay float32.

    References:
      Zhou et al. 2018, *UNet++: A Nested U-Net Architecture for Medical Image Segmentation*, section 3.
      Nodes, widths and initialisation as segmentation_models.pytorch 0.5 (``UnetPlusPlus``), whose weights on
      ResNets fit (``jaxvision.weights.smp_unetplusplus_rules``). There and here the finest level has half the
      size of the image, for backbones begin with a stride.
    """

    backbone: nn.Module
    num_classes: int
    features: tuple[int, ...] = (256, 128, 64, 32, 16)
    deep_supervision: bool = False
    prune_to: int | None = None
    attention: Callable[..., nn.Module] | None = None
    norm: Callable[..., nn.Module] | None = BatchNorm
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Scores each pixel.

        Args:
          images: ``[N, H, W, C]``, floating, normalised, of any size that the backbone takes.
          train: whether normalisation uses, and updates, the statistics of this batch.

        Returns:
          Logits ``[N, H, W, K]``, float32.

        Raises:
          ValueError: for another shape or dtype, an empty image, a backbone whose maps do not halve, another
            number of ``features`` than it has maps, or a branch that there is not.
        """
        check_image_batch(images)
        deepest, skips = halving_maps(self.backbone.strides)
        self._check_fields(len(skips) + 1)
        maps = self.backbone(images, train=train)
        levels = [maps[name] for name in (deepest, *skips)]
        branches = self._nodes(levels, train)  # of the finest level
        size = (images.shape[1], images.shape[2])
        last = self._block(self.features[-1], f"node_0_{len(skips)}")
        x = last(branches[-1], None, size, train=train)  # [N, H, W, features[-1]]
        logits = self._score(x, 3, "head")  # [N, H, W, K]
        if not self.deep_supervision:
            return logits
        scores = [
            resize(self._score(node, 1, f"aux_head{j}"), size)
            for j, node in enumerate(branches[:-1], start=1)
        ]  # each [N, H, W, K]
        if not train:
            every = [*scores, logits]
            return jnp.stack(every).mean(0) if self.prune_to is None else every[self.prune_to - 1]
        if not self.is_initializing():
            for j, score in enumerate(scores, start=1):
                self.sow("aux_logits", f"branch{j}", score, reduce_fn=lambda _, new: new)
        return logits

    def _nodes(self, levels: list[jax.Array], train: bool) -> list[jax.Array]:
        """The nodes of the finest level, from the first to the last."""
        below = levels[:-1]  # what the next column's nodes enlarge, from coarse to fine
        rows: list[list[jax.Array]] = [[skip] for skip in levels[1:]]  # of each level, the last one first
        for column in range(len(rows)):
            below = [
                self._block(
                    self.features[level] if level == column else levels[level + 1].shape[-1],
                    f"node_{level - column}_{level}",
                )(
                    below[level - column],
                    jnp.concatenate(row, -1),
                    (row[-1].shape[1], row[-1].shape[2]),
                    train=train,
                )
                for level, row in enumerate(rows)
                if level >= column
            ]
            for row, node in zip(rows[column:], below, strict=True):
                row.insert(0, node)
        return rows[-1][-2::-1]

    def _block(self, features: int, name: str) -> UpsampleBlock:
        return UpsampleBlock(features, self.attention, self.norm, self.dtype, name=name)

    def _score(self, x: jax.Array, window: int, name: str) -> jax.Array:
        return Conv(
            self.num_classes,
            window,
            padding=window // 2,
            kernel_init=xavier_uniform(),
            dtype=self.dtype,
            name=name,
        )(x).astype(jnp.float32)

    def _check_fields(self, count: int) -> None:
        if len(self.features) != count:
            raise ValueError(
                f"features: expected {count} numbers for a backbone with as many feature maps, got "
                f"{self.features}"
            )
        if self.prune_to is not None and not (self.deep_supervision and 1 <= self.prune_to < count):
            raise ValueError(
                f"prune_to: expected None, or with deep_supervision one of the branches 1 to {count - 1}, "
                f"got {self.prune_to}"
            )
