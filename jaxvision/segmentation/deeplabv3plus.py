"""DeepLabV3+ (Chen et al. 2018): DeepLabV3 with a decoder that reads a finer map."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.layers import ASPP, BatchNorm, Conv, ConvNormAct, SeparableConv
from jaxvision.layers.initializers import Initializer
from jaxvision.ops import resize
from jaxvision.segmentation.heads import enlarge_scores, take_level, torch_uniform
from jaxvision.segmentation.resolution import check_image_batch


class DeepLabV3Plus(nn.Module):
    """A dilated backbone, atrous spatial pyramid pooling, a finer map of the backbone, and 3x3 convolutions.

    Submodules: ``backbone``; ``aspp`` (:class:`jaxvision.layers.ASPP`) and, with ``pyramid_conv``,
    ``pyramid_conv``; ``skip_conv``, the 1x1 convolution of the finer map; ``decoder_conv1``,
    ``decoder_conv2``, ...; ``head``.

    Two layouts differ little, and are fields:

    ==================  =======================  ==================================
    field               the paper's (default)    segmentation_models.pytorch's
    ==================  =======================  ==================================
    ``rates``           (6, 12, 18)              (12, 24, 36)
    ``pyramid_conv``    False                    True
    ``decoder_convs``   2                        1
    ``separable_order`` ``"mobilenet"``          ``"joint"``
    ``dropout_rate``    0.1                      0.5
    ==================  =======================  ==================================

    Images of any size pass, without padding: the pyramid's result is enlarged to the size of the finer map,
    and the scores to that of the image. For multiples of the output stride, which the references take alone,
    that is what they do. In training the normalisation of the image's mean needs a batch of two images; one
    alone is an error, as in PyTorch.

    Attributes:
      backbone: module that maps images to ``{"c1": ..., "c5": ...}``, of output stride 8 or 16.
      num_classes: number of classes K, background included.
      features: number of channels of the pyramid and of the decoder.
      rates: dilations of the pyramid; the paper's are for an output stride of 16, and twice that for 8.
      skip_features: number of channels that the finer map is reduced to.
      level: the feature map that the pyramid reads.
      skip_level: the finer one.
      pyramid_conv: whether a 3x3 convolution follows the pyramid.
      decoder_convs: number of 3x3 convolutions of the joined maps.
      separable: whether all 3x3 convolutions are depthwise separable: section 3.1 and, of the decoder,
        section 4.3 with the Xception; the authors' ResNets have whole ones.
      separable_order: of their parts, as :class:`jaxvision.layers.SeparableConv`.
      dropout_rate: share of the pyramid's result dropped in training; the paper gives none, the default is
        that of the authors' code.
      align_corners: whether corner pixels lie on each other where a map is enlarged, as in both.
      norm: makes the normalisations behind the backbone from ``dtype`` and ``name``.
      kernel_init: initialiser of the kernels behind the backbone; PyTorch's own, as in
        segmentation_models.pytorch.
      dtype: dtype of the computation behind the backbone; parameters, statistics and logits stay float32.

    References:
      Chen et al. 2018, *Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation*,
      section 3.1, figure 2, and tables 1 and 2 (48 channels of the finer map, two 3x3 convolutions of 256).
    """

    backbone: nn.Module
    num_classes: int
    features: int = 256
    rates: Sequence[int] = (6, 12, 18)
    skip_features: int = 48
    level: str = "c5"
    skip_level: str = "c2"
    pyramid_conv: bool = False
    decoder_convs: int = 2
    separable: bool = True
    separable_order: Literal["mobilenet", "joint"] = "mobilenet"
    dropout_rate: float = 0.1
    align_corners: bool = True
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
        maps = self.backbone(images, train=train)
        options: dict[str, Any] = {"norm": self.norm, "kernel_init": self.kernel_init, "dtype": self.dtype}
        x = ASPP(
            self.features,
            self.rates,
            self.separable,
            self.separable_order,
            self.dropout_rate,
            **options,
            name="aspp",
        )(take_level(maps, self.level, field="level"), train=train)  # [N, H / 16, W / 16, features]
        if self.pyramid_conv:
            x = self._convolve(x, "pyramid_conv", train)
        skip = take_level(maps, self.skip_level, field="skip_level")
        skip = ConvNormAct(self.skip_features, 1, **options, name="skip_conv")(skip, train=train)
        x = resize(x, skip.shape[1:3], align_corners=self.align_corners)
        x = jnp.concatenate([x, skip], axis=-1)  # [N, H / 4, W / 4, features + skip_features]
        for number in range(1, self.decoder_convs + 1):
            x = self._convolve(x, f"decoder_conv{number}", train)  # [N, H / 4, W / 4, features]
        head = Conv(self.num_classes, 1, kernel_init=self.kernel_init, dtype=self.dtype, name="head")
        size = (images.shape[1], images.shape[2])
        return enlarge_scores(head(x), size, align_corners=self.align_corners)

    def _convolve(self, x: jax.Array, name: str, train: bool) -> jax.Array:
        """A 3x3 convolution, whole or separable, normalised and activated."""
        options: dict[str, Any] = {"norm": self.norm, "kernel_init": self.kernel_init, "dtype": self.dtype}
        if self.separable:
            separable = SeparableConv(self.features, 3, order=self.separable_order, **options, name=name)
            return separable(x, train=train)
        return ConvNormAct(self.features, 3, **options, name=name)(x, train=train)
