"""DeepLabV3 (Chen et al. 2017): atrous spatial pyramid pooling on a dilated backbone."""

import functools
from collections.abc import Callable, Sequence
from typing import Literal

import flax.linen as nn
import jax
from jax.typing import DTypeLike

from jaxvision.layers import ASPP, BatchNorm, Conv, ConvNormAct
from jaxvision.layers.initializers import Initializer
from jaxvision.segmentation.heads import (
    FCNHead,
    enlarge_scores,
    take_level,
    torch_uniform,
    write_aux_logits,
)
from jaxvision.segmentation.resolution import check_image_batch


class DeepLabV3(nn.Module):
    """A dilated backbone, atrous spatial pyramid pooling, a 3x3 convolution, and scores.

    Submodules: ``backbone``, ``aspp`` (:class:`jaxvision.layers.ASPP`), ``conv`` (``conv`` and ``norm``) and
    ``head``; with ``aux_head`` also ``aux_head``, whose logits training writes as those of
    :class:`jaxvision.segmentation.DilatedFCN`.

    Images of any size pass, without padding: the scores are enlarged to whatever size they have. In training
    the normalisation of the image's mean needs a batch of two images; one alone is an error, as in PyTorch.

    Attributes:
      backbone: module that maps images to ``{"c1": ..., "c5": ...}``, of output stride 8 or 16.
      num_classes: number of classes K, background included.
      features: number of channels of the pyramid and of ``conv``.
      rates: dilations of the pyramid: (12, 24, 36) for an output stride of 8. torchvision's MobileNetV3 has
        them at 16 as well, where the paper takes (6, 12, 18).
      aux_head: whether the network has the auxiliary head.
      level: the feature map that is scored.
      aux_level: the feature map that the auxiliary head reads.
      separable: whether the pyramid's 3x3 convolutions are depthwise separable.
      separable_order: of their parts, as the pyramid's.
      dropout_rate: share of the pyramid's result dropped in training.
      aux_dropout_rate: that of the auxiliary head.
      align_corners: whether the scores' corner pixels lie on the image's where they are enlarged, as in
        segmentation_models.pytorch.
      norm: makes the normalisations behind the backbone from ``dtype`` and ``name``.
      kernel_init: initialiser of the kernels behind the backbone.
      dtype: dtype of the computation behind the backbone; parameters, statistics and logits stay float32.

    References:
      Chen et al. 2017, *Rethinking Atrous Convolution for Semantic Image Segmentation*, sections 3.2 and 3.3
      and figure 5, without its multi-grid of dilations inside of a block. ``conv`` is torchvision's: the
      paper has the scores right behind the pyramid. Equal to torchvision's DeepLabV3, and with
      ``align_corners`` to segmentation_models.pytorch's; but for biases, which start at zero, so is the
      initialisation.
    """

    backbone: nn.Module
    num_classes: int
    features: int = 256
    rates: Sequence[int] = (12, 24, 36)
    aux_head: bool = False
    level: str = "c5"
    aux_level: str = "c4"
    separable: bool = False
    separable_order: Literal["mobilenet", "joint"] = "mobilenet"
    dropout_rate: float = 0.5
    aux_dropout_rate: float = 0.1
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
          ValueError: for another shape or dtype, an empty image, a feature map that the backbone lacks, or
            one image alone in training.
        """
        check_image_batch(images)
        size = (images.shape[1], images.shape[2])
        maps = self.backbone(images, train=train)
        init, dtype = self.kernel_init, self.dtype
        if self.aux_head:
            write_aux_logits(
                self,
                functools.partial(
                    FCNHead,
                    self.num_classes,
                    dropout_rate=self.aux_dropout_rate,
                    norm=self.norm,
                    kernel_init=init,
                    dtype=dtype,
                    name="aux_head",
                ),
                take_level(maps, self.aux_level, field="aux_level"),
                size,
                train=train,
                align_corners=self.align_corners,
            )
        x = ASPP(
            self.features,
            self.rates,
            self.separable,
            self.separable_order,
            self.dropout_rate,
            norm=self.norm,
            kernel_init=init,
            dtype=dtype,
            name="aspp",
        )(take_level(maps, self.level, field="level"), train=train)  # [N, H / 8, W / 8, features]
        conv = ConvNormAct(self.features, 3, norm=self.norm, kernel_init=init, dtype=dtype, name="conv")
        x = conv(x, train=train)
        scores = Conv(self.num_classes, 1, kernel_init=init, dtype=dtype, name="head")(x)
        return enlarge_scores(scores, size, align_corners=self.align_corners)
