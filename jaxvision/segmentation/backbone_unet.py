"""U-Net's expanding path on any backbone, as segmentation_models.pytorch's ``Unet`` has it."""

from collections.abc import Callable, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.layers import BatchNorm, Conv, ConvNormAct, he_uniform, xavier_uniform
from jaxvision.ops import resize
from jaxvision.segmentation.resolution import check_image_batch


class UpsampleBlock(nn.Module):
    """A map enlarged to the size of a finer one, joined with it, and two 3x3 convolutions.

    Submodules: ``conv1`` and ``conv2`` (``conv`` and ``norm``); with ``attention`` also ``attention1``, in
    front of the first where there is a finer map, and ``attention2``, behind the second.

    Attributes:
      features: number of output channels.
      attention: makes what reweights the channels or pixels from ``dtype`` and ``name``, such as
        :class:`jaxvision.layers.ConcurrentSqueezeExcitation`; None leaves it out.
      norm: makes a normalisation from ``dtype`` and ``name``; None leaves it out.
      dtype: dtype of the computation.
    """

    features: int
    attention: Callable[..., nn.Module] | None = None
    norm: Callable[..., nn.Module] | None = BatchNorm
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, x: jax.Array, skip: jax.Array | None, size: tuple[int, int], *, train: bool
    ) -> jax.Array:
        """Maps ``[N, h, w, C]`` to ``[N, H, W, features]``.

        Args:
          x: the coarse map.
          skip: ``[N, H, W, C']``, the finer map, or None.
          size: ``(H, W)``. Pixels are repeated ("nearest"), so that 2 h by 2 w is the usual case.
          train: as elsewhere.
        """
        x = resize(x, size, method="nearest")  # [N, H, W, C]
        if skip is not None:
            x = jnp.concatenate([x, skip.astype(x.dtype)], axis=-1)  # [N, H, W, C + C']
            x = self._attend(x, "attention1", train)
        for name in ("conv1", "conv2"):
            x = ConvNormAct(
                self.features, norm=self.norm, kernel_init=he_uniform(), dtype=self.dtype, name=name
            )(x, train=train)  # [N, H, W, features]
        return self._attend(x, "attention2", train)

    def _attend(self, x: jax.Array, name: str, train: bool) -> jax.Array:
        if self.attention is None:
            return x
        weighted: jax.Array = self.attention(dtype=self.dtype, name=name)(x, train=train)
        return weighted


class BackboneUNet(nn.Module):
    """A U-Net whose contracting path is a backbone.

    Submodules: ``backbone``; ``decoder_block{i}``, counted from 0 at the bottom of the U, each an
    :class:`UpsampleBlock`; and ``head``, a 3x3 convolution.

    A block stands for each halving of the image: it enlarges the map so far to the size of the next feature
    map of the backbone and joins the two. Where the backbone has no map of a stride (the image itself; the
    half of it in front of a stem of stride 4; all between the map of a ViT and the image) the block
    enlarges alone. Maps of one stride, of a dilated backbone, are joined as they are. As sizes are those of
    the feature maps, images of any size pass that the backbone takes, without padding or cropping, and give
    the reference's numbers.

    Attributes:
      backbone: module that maps images to a dict of features and declares their ``strides``.
      num_classes: number of classes K, background included.
      features: number of channels of each block, from the bottom of the U; one number a block.
      attention: as the blocks': ``ConcurrentSqueezeExcitation`` is the reference's ``"scse"``.
      norm: makes the decoder's normalisations from ``dtype`` and ``name``; None leaves them out.
      dtype: dtype of the computation of decoder and head; parameters, statistics and logits stay float32.

    References:
      Ronneberger et al. 2015, *U-Net: Convolutional Networks for Biomedical Image Segmentation*, figure 1.
      Layout, widths and initialisation (He uniform; Glorot uniform for the head) as
      segmentation_models.pytorch 0.5, whose weights on ResNets fit
      (``jaxvision.weights.smp_unet_rules``). Its VGGs, MobileNetV2 and EfficientNets have other feature maps:
      those are read in front of the poolings, or behind the head's convolution, or behind the stem.
    """

    backbone: nn.Module
    num_classes: int
    features: tuple[int, ...] = (256, 128, 64, 32, 16)
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
          ValueError: for another shape or dtype, an empty image, or another number of ``features`` than the
            backbone has halvings.
        """
        check_image_batch(images)
        deepest, steps = decoder_steps(self.backbone.strides)
        if len(steps) != len(self.features):
            raise ValueError(
                f"features: expected {len(steps)} numbers for a backbone with feature maps of strides "
                f"{self.backbone.strides}, one a block of the decoder, got {self.features}"
            )
        maps = self.backbone(images, train=train)
        x = maps[deepest]
        for index, ((name, stride), width) in enumerate(zip(steps, self.features, strict=True)):
            skip = None if name is None else maps[name]
            x = UpsampleBlock(width, self.attention, self.norm, self.dtype, name=f"decoder_block{index}")(
                x, skip, size_at(images, stride) if skip is None else skip.shape[1:3], train=train
            )  # [N, H / stride, W / stride, width]
        x = Conv(self.num_classes, 3, padding=1, kernel_init=xavier_uniform(), dtype=self.dtype, name="head")(
            x
        )
        return x.astype(jnp.float32)  # [N, H, W, K]


def decoder_steps(strides: Mapping[str, int]) -> tuple[str, list[tuple[str | None, int]]]:
    """The way from a backbone's coarsest feature map to the image, by at most a doubling a step.

    Args:
      strides: of each feature map, by name.

    Returns:
      Name of the coarsest map, and of each step the feature map that it leads to, None where the backbone has
      none, and its stride. The last stride is 1.

    >>> decoder_steps({"c2": 4, "c3": 8})
    ('c3', [('c2', 4), (None, 2), (None, 1)])
    """
    *skips, deepest = sorted(strides, key=lambda name: (strides[name], name))
    at = strides[deepest]
    steps: list[tuple[str | None, int]] = []
    for name in reversed(skips):
        while at > 2 * strides[name]:
            at //= 2
            steps.append((None, at))
        at = strides[name]
        steps.append((name, at))
    while at > 1:
        at //= 2
        steps.append((None, at))
    return deepest, steps


def size_at(images: jax.Array, stride: int) -> tuple[int, int]:
    """Height and width of images ``[N, H, W, C]`` at a stride, rounded up as padded convolutions do.

    >>> size_at(jnp.zeros((1, 45, 64, 3)), 2)
    (23, 32)
    """
    return -(-images.shape[1] // stride), -(-images.shape[2] // stride)
