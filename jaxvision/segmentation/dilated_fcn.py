"""A fully convolutional network on a dilated backbone: torchvision's FCN."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
from jax.typing import DTypeLike

from jaxvision.layers import BatchNorm
from jaxvision.layers.initializers import Initializer
from jaxvision.segmentation.heads import (
    FCNHead,
    enlarge_scores,
    take_level,
    torch_uniform,
    write_aux_logits,
)
from jaxvision.segmentation.resolution import check_image_batch


class DilatedFCN(nn.Module):
    """A backbone, a 3x3 and a 1x1 convolution, and the scores enlarged to the image.

    Submodules: ``backbone``; ``conv`` (``conv`` and ``norm``) and ``head``; with ``aux_head`` also
    ``aux_head``, a :class:`FCNHead`. A call returns the main logits alone. With ``aux_head`` and ``train``
    those of the auxiliary head are written to the collection ``"aux_logits"`` under ``"aux"``, if it is
    mutable; torchvision's recipe adds their loss with weight 0.5.

    Images of any size pass, without padding: the scores are enlarged to whatever size they have.

    Attributes:
      backbone: module that maps images to ``{"c1": ..., "c5": ...}``.
      num_classes: number of classes K, background included.
      features: number of channels of ``conv``; None takes a quarter of the feature map's.
      aux_head: whether the network has the auxiliary head.
      level: the feature map that is scored.
      aux_level: the feature map that the auxiliary head reads.
      dropout_rate: share dropped in front of the scores in training.
      align_corners: whether the scores' corner pixels lie on the image's where they are enlarged.
      norm: makes the normalisations of the heads from ``dtype`` and ``name``.
      kernel_init: initialiser of the heads' kernels.
      dtype: dtype of the heads' computation; parameters, statistics and logits stay float32.

    References:
      Long et al. 2015, *Fully Convolutional Networks for Semantic Segmentation*. Dilation in the place of
      strides, which makes its skip connections and its learned upsampling superfluous, is that of Yu and
      Koltun 2016, *Multi-Scale Context Aggregation by Dilated Convolutions*. Equal to torchvision's FCN; but
      for biases, which start at zero, so is the initialisation.
    """

    backbone: nn.Module
    num_classes: int
    features: int | None = None
    aux_head: bool = False
    level: str = "c5"
    aux_level: str = "c4"
    dropout_rate: float = 0.1
    align_corners: bool = False
    norm: Callable[..., nn.Module] | None = BatchNorm
    kernel_init: Initializer = torch_uniform
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Scores each pixel.

        Args:
          images: ``[N, H, W, C]``, floating, normalised, of any size that the backbone takes.
          train: whether dropout and batch statistics are those of training; then a ``"dropout"`` key must be
            passed in ``rngs``.

        Returns:
          Logits ``[N, H, W, K]``, float32.

        Raises:
          ValueError: for another shape or dtype, an empty image, or a feature map that the backbone lacks.
        """
        check_image_batch(images)
        size = (images.shape[1], images.shape[2])
        features = self.backbone(images, train=train)
        make_head = functools.partial(
            FCNHead,
            self.num_classes,
            dropout_rate=self.dropout_rate,
            norm=self.norm,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
        )
        if self.aux_head:
            write_aux_logits(
                self,
                functools.partial(make_head, name="aux_head"),
                take_level(features, self.aux_level, field="aux_level"),
                size,
                train=train,
                align_corners=self.align_corners,
            )
        head = make_head(features=self.features)
        nn.share_scope(self, head)  # conv and head are the network's own
        scores = head(take_level(features, self.level, field="level"), train=train)
        return enlarge_scores(scores, size, align_corners=self.align_corners)
