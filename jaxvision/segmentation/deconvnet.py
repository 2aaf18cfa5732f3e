"""DeconvNet (Noh, Hong and Han 2015): VGG-16, its fully connected layers included, and its mirror image."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.backbones import VGG
from jaxvision.layers import BatchNorm, Conv, ConvTransposeNormAct, Dropout
from jaxvision.segmentation.resolution import pad_images, unpool_pairs


class DeconvNet(nn.Module):
    """The network of figure 2 and table 2: convolutions to a single vector, deconvolutions back.

    Submodules: ``backbone``; ``fc6`` (7x7, without padding) and ``fc7`` (1x1) with ``fc6_norm`` and
    ``fc7_norm``; ``decoder_fc6`` (a transposed 7x7 convolution); for stages ``s`` from the last to the first
    and ``i`` from 1 ``decoder{s}_layer{i}`` (transposed 3x3 convolutions, ``conv`` and ``norm``) behind an
    unpooling each; and the 1x1 convolution ``head``.

    The paper segments object proposals of 224x224 pixels, which ``fc6`` turns into one vector. Here an image
    is padded with zeros at the bottom and right to multiples of 32, and to 224 at least (``32 window``), and
    the logits are cropped back: ``fc6`` slides over a larger map, and ``decoder_fc6`` gives it its size
    again. At 224x224 that is the paper's network; proposals and their ensemble are not part of it.
    ``fc6_norm`` then has one element a channel and image, so that a batch in training must have two images.

    Attributes:
      backbone: a :class:`jaxvision.backbones.VGG`, the paper's with ``use_norm``: ``vgg("vgg16_bn")``. The
        paper starts from its published weights, ``fc6`` and ``fc7`` included: see
        ``jaxvision.zoo.start_backbone``.
      num_classes: number of classes K, background included.
      hidden: width of ``fc6`` and ``fc7``.
      window: kernel size of ``fc6`` and ``decoder_fc6``; a smaller one suits smaller images, but not
        published weights.
      dropout_rate: share of the values dropped after ``fc6`` and ``fc7`` in training; the paper, which counts
        on batch normalisation (section 4.1), names none.
      norm: makes the normalisations outside of the backbone from ``dtype`` and ``name``.
      dtype: dtype of the computation; parameters, statistics and logits stay float32.

    References:
      Noh et al. 2015, *Learning Deconvolution Network for Semantic Segmentation*, section 3 and table 2. The
      decoder's convolutions have no bias beside their normalisation, which would cancel it. They start from
      He et al. 2015 (fan-in); the paper says "zero-mean Gaussians" and no deviation.
    """

    backbone: VGG
    num_classes: int
    hidden: int = 4096
    window: int = 7
    dropout_rate: float = 0.0
    norm: Callable[..., nn.Module] = BatchNorm
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Scores each pixel.

        Args:
          images: ``[N, H, W, C]``, floating, normalised, of any size.
          train: whether normalisation uses, and updates, the statistics of this batch, and dropout acts; with
            a dropout rate a ``"dropout"`` key must be passed in ``rngs``.

        Returns:
          Logits ``[N, H, W, K]``, float32.

        Raises:
          ValueError: for another shape or dtype, or an empty image; or in training a single image
            that ``fc6`` makes into one vector.
        """
        counts, widths = self.backbone.convolutions, self.backbone.features
        stride = 2 ** len(counts)
        padded = pad_images(images, stride, least=stride * self.window)
        features = self.backbone(padded, train=train, with_indices=True)
        x = features[f"c{len(counts)}"]  # [N, H / 32, W / 32, C5]
        for name, window in (("fc6", self.window), ("fc7", 1)):
            x = Conv(self.hidden, window, dtype=self.dtype, name=name)(x)  # 7x7 -> 1x1
            x = nn.relu(self.norm(dtype=self.dtype, name=f"{name}_norm")(x, train=train))
            x = Dropout(self.dropout_rate)(x, train=train)
        x = self._deconvolve(widths[-1], self.window, 0, "decoder_fc6")(x, train=train)  # 1x1 -> 7x7
        for stage in range(len(counts), 0, -1):
            x = unpool_pairs(x, features[f"i{stage}"])  # twice the size
            # The last layer of a stage has the width of the stage before.
            outputs = [widths[stage - 1]] * (counts[stage - 1] - 1) + [widths[max(stage - 2, 0)]]
            for layer, width in enumerate(outputs, start=1):
                x = self._deconvolve(width, 3, 1, f"decoder{stage}_layer{layer}")(x, train=train)
        x = Conv(self.num_classes, 1, dtype=self.dtype, name="head")(x)
        return x[:, : images.shape[1], : images.shape[2]].astype(jnp.float32)  # [N, H, W, K]

    def _deconvolve(self, features: int, window: int, padding: int, name: str) -> ConvTransposeNormAct:
        return ConvTransposeNormAct(
            features, window, padding=padding, norm=self.norm, dtype=self.dtype, name=name
        )
