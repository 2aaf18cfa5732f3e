"""SegNet and SegNet-Basic (Badrinarayanan, Kendall and Cipolla 2017): they unpool by remembered places."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.backbones import VGG
from jaxvision.layers import BatchNorm, Conv, ConvNormAct
from jaxvision.ops import local_response_norm, max_pool_with_indices
from jaxvision.segmentation.resolution import pad_images, unpool_pairs


class SegNet(nn.Module):
    """The network of figure 3: the convolutions of a VGG and their mirror image.

    Each max pooling of the encoder tells the places of its maxima; the decoder puts its values back to
    these places, zeros elsewhere, and fills the gaps by convolutions. Submodules: ``backbone``; for stages
    ``s`` from the last to the first and ``i`` from 1 ``decoder{s}_layer{i}`` (``conv`` and ``norm``); and
    ``head``, which is the last convolution of the mirror image, as in the authors' Caffe model
    (``conv1_1_D``). So with VGG-16 there are 13 convolutions on each side.

    Two things differ from that model. The image is padded at the bottom and right with zeros to a multiple
    of 32 and the logits are cropped back, where Caffe's pooling lets the last window hang over the end of the
    image at each of the five levels; with sizes that are multiples the two are the same. And the decoder's
    convolutions have no bias beside the normalisation, which would cancel it.

    Attributes:
      backbone: a :class:`jaxvision.backbones.VGG`, the paper's with ``use_norm``: ``vgg("vgg16_bn")``. The
        paper starts from its published weights: see ``jaxvision.zoo.start_backbone``.
      num_classes: number of classes K, background included.
      norm: makes the decoder's normalisations from ``dtype`` and ``name``, such as ``BatchNorm`` or
        ``functools.partial(BatchNorm, axis_name="data")``.
      dtype: dtype of the computation; parameters, statistics and logits stay float32.

    References:
      Badrinarayanan et al. 2017, *SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image
      Segmentation*, section 3 and figures 2 and 3. Kernels start as theirs, from He et al. 2015 (fan-in); the
      backbone's as its own docstring says.
    """

    backbone: VGG
    num_classes: int
    norm: Callable[..., nn.Module] = BatchNorm
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Scores each pixel.

        Args:
          images: ``[N, H, W, C]``, floating, normalised, of any size.
          train: whether normalisation uses, and updates, the statistics of this batch.

        Returns:
          Logits ``[N, H, W, K]``, float32.

        Raises:
          ValueError: for another shape or dtype, or an empty image.
        """
        counts, widths = self.backbone.convolutions, self.backbone.features
        padded = pad_images(images, 2 ** len(counts))
        features = self.backbone(padded, train=train, with_indices=True)
        x = features[f"c{len(counts)}"]  # [N, H / 32, W / 32, C5]
        for stage in range(len(counts), 0, -1):
            x = unpool_pairs(x, features[f"i{stage}"])  # twice the size
            count = counts[stage - 1]
            # The last layer of a stage has the width of the stage before; that of the first is the head.
            outputs = [widths[stage - 1]] * (count - 1) + ([widths[stage - 2]] if stage > 1 else [])
            for layer, features_out in enumerate(outputs, start=1):
                name = f"decoder{stage}_layer{layer}"
                x = ConvNormAct(features_out, norm=self.norm, dtype=self.dtype, name=name)(x, train=train)
        x = Conv(self.num_classes, 3, padding=1, dtype=self.dtype, name="head")(x)
        return x[:, : images.shape[1], : images.shape[2]].astype(jnp.float32)  # [N, H, W, K]


class SegNetBasic(nn.Module):
    """The small network of the paper's comparison of decoders: four encoders and four decoders.

    Submodules, levels ``l`` counted from 1 at full resolution: ``encoder{l}`` and ``decoder{l}`` (``conv``
    and ``norm``), and the 1x1 convolution ``head``. Encoders have a ReLU in front of their pooling, decoders
    none; no convolution but the head has a bias. Images of any size are padded and logits cropped as in
    :class:`SegNet`, here to multiples of 16.

    The authors' Caffe model divides the image's channels by their neighbours' squares first, for its images
    are not normalised (``local_response_norm`` with Caffe's constants, which are our defaults). The paper
    does not mention it, and on normalised images it changes next to nothing; so it is an option here.

    Attributes:
      num_classes: number of classes K, background included.
      features: number of channels of each level.
      kernel_size: of every convolution but the head.
      use_lrn: whether local response normalisation stands in front, for images with values of 0 to 255.
      norm: makes a normalisation from ``dtype`` and ``name``.
      dtype: dtype of the computation; parameters, statistics and logits stay float32.

    References:
      Badrinarayanan et al. 2017, *SegNet*, section 3.1; its 7x7 windows "provide a wide context". Kernels
      start from He et al. 2015 (fan-in).
    """

    num_classes: int
    features: tuple[int, ...] = (64, 64, 64, 64)
    kernel_size: int = 7
    use_lrn: bool = False
    norm: Callable[..., nn.Module] = BatchNorm
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Scores each pixel.

        Args:
          images: ``[N, H, W, C]``, floating, of any size.
          train: whether normalisation uses, and updates, the statistics of this batch.

        Returns:
          Logits ``[N, H, W, K]``, float32.

        Raises:
          ValueError: for another shape or dtype, an empty image, or an even kernel.
        """
        x = pad_images(images, 2 ** len(self.features))
        if self.use_lrn:
            x = local_response_norm(x)
        places: list[jax.Array] = []
        for level, features in enumerate(self.features, start=1):
            x = self._layer(features, nn.relu, f"encoder{level}")(x, train=train)
            x, indices = max_pool_with_indices(x, 2)  # [N, H / 2, W / 2, features]
            places.append(indices)
        for level in range(len(self.features), 0, -1):
            x = unpool_pairs(x, places.pop())  # twice the size
            x = self._layer(self.features[max(level - 2, 0)], None, f"decoder{level}")(x, train=train)
        x = Conv(self.num_classes, 1, dtype=self.dtype, name="head")(x)
        return x[:, : images.shape[1], : images.shape[2]].astype(jnp.float32)  # [N, H, W, K]

    def _layer(
        self, features: int, activation: Callable[[jax.Array], jax.Array] | None, name: str
    ) -> ConvNormAct:
        return ConvNormAct(
            features,
            self.kernel_size,
            norm=self.norm,
            activation=activation,
            dtype=self.dtype,
            name=name,
        )
