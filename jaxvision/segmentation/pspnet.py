"""PSPNet (Zhao et al. 2017): pyramid pooling on a dilated backbone."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
from jax.typing import DTypeLike

from jaxvision.layers import (
    BatchNorm,
    Conv,
    ConvNormAct,
    PyramidPooling,
    SpatialDropout,
    he_uniform,
    xavier_uniform,
)
from jaxvision.layers.initializers import Initializer
from jaxvision.segmentation.heads import FCNHead, enlarge_scores, take_level, write_aux_logits
from jaxvision.segmentation.resolution import check_image_batch


class PSPNet(nn.Module):
    """A dilated backbone, pyramid pooling, a convolution, and scores.

    Submodules: ``backbone``, ``pyramid`` (:class:`jaxvision.layers.PyramidPooling`), ``conv`` (``conv`` and
    ``norm``) and ``head``; with ``aux_head`` also ``aux_head``, whose logits training writes as those of
    :class:`jaxvision.segmentation.DilatedFCN`; the paper adds their loss with weight 0.4.

    Two layouts differ little, and are fields:

    ================  ====================================  ==================================
    field             the paper's (default)                 segmentation_models.pytorch's
    ================  ====================================  ==================================
    ``backbone``      of output stride 8, to ``"c5"``       to its map of stride 8, ``"c3"``
    ``level``         ``"c5"``                              ``"c3"``
    ``map_first``     True                                  False
    ``norm_single``   True                                  False
    ``conv_size``     3                                     1
    ``head_size``     1                                     3
    ``dropout_rate``  0.1                                   0.2
    ================  ====================================  ==================================

    Images of any size pass, without padding: the scores are enlarged to whatever size they have. In training
    the paper's layout needs a batch of two images, since the means over the whole image are normalised; one
    alone is an error, as in PyTorch. ``norm_single=False`` takes it.

    Attributes:
      backbone: module that maps images to a dict of features.
      num_classes: number of classes K, background included.
      features: number of channels of ``conv``.
      bins: sizes of the pyramid's grids.
      aux_head: whether the network has the auxiliary head.
      level: the feature map that is pooled.
      aux_level: the feature map that the auxiliary head reads.
      map_first: as the pyramid's.
      norm_single: as the pyramid's.
      conv_size: size of the kernel of ``conv``.
      head_size: size of the kernel of ``head``.
      dropout_rate: share of the channels dropped in front of the scores in training, whole ones; the paper
        gives none, the default is that of the authors' code.
      align_corners: whether corner pixels lie on each other where a map is enlarged, as in both.
      norm: makes the normalisations behind the backbone from ``dtype`` and ``name``; None leaves them out.
      kernel_init: initialiser of the kernels behind the backbone but for ``head``, which is Glorot uniform;
        the paper gives none, both are segmentation_models.pytorch's.
      dtype: dtype of the computation behind the backbone; parameters, statistics and logits stay float32.

    References:
      Zhao et al. 2017, *Pyramid Scene Parsing Network*, sections 3.2 and 3.3, and figures 3 and 4.
    """

    backbone: nn.Module
    num_classes: int
    features: int = 512
    bins: Sequence[int] = (1, 2, 3, 6)
    aux_head: bool = False
    level: str = "c5"
    aux_level: str = "c4"
    map_first: bool = True
    norm_single: bool = True
    conv_size: int = 3
    head_size: int = 1
    dropout_rate: float = 0.1
    align_corners: bool = True
    norm: Callable[..., nn.Module] | None = BatchNorm
    kernel_init: Initializer = he_uniform()
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
            one image alone in training where the means over the whole image are normalised.
        """
        check_image_batch(images)
        size, corners = (images.shape[1], images.shape[2]), self.align_corners
        maps = self.backbone(images, train=train)
        options: dict[str, Any] = {"norm": self.norm, "kernel_init": self.kernel_init, "dtype": self.dtype}
        if self.aux_head:
            make_head = functools.partial(
                FCNHead,
                self.num_classes,
                dropout_rate=self.dropout_rate,
                drop_channels=True,
                **options,
                name="aux_head",
            )
            side = take_level(maps, self.aux_level, field="aux_level")
            write_aux_logits(self, make_head, side, size, train=train, align_corners=corners)
        pyramid = PyramidPooling(
            self.bins,
            align_corners=corners,
            map_first=self.map_first,
            norm_single=self.norm_single,
            **options,
            name="pyramid",
        )
        x = pyramid(take_level(maps, self.level, field="level"), train=train)  # [N, H / 8, W / 8, 2 C]
        x = ConvNormAct(self.features, self.conv_size, **options, name="conv")(x, train=train)
        x = SpatialDropout(self.dropout_rate)(x, train=train)  # [N, H / 8, W / 8, features]
        scores = Conv(
            self.num_classes,
            self.head_size,
            padding=self.head_size // 2,
            kernel_init=xavier_uniform(),
            dtype=self.dtype,
            name="head",
        )(x)
        return enlarge_scores(scores, size, align_corners=corners)
