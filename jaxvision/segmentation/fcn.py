"""Fully convolutional networks: FCN-32s, FCN-16s and FCN-8s (Long, Shelhamer and Darrell 2015)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike

from jaxvision.core import check_floating, check_layout
from jaxvision.layers import Conv, ConvTranspose, bilinear_kernel
from jaxvision.segmentation.resolution import pad_images

_STRIDES = (32, 16, 8)


class FCN(nn.Module):
    """A classifier's backbone, its fully connected layers as convolutions, and skip connections.

    Submodules: ``backbone``; ``fc6`` (7x7) and ``fc7`` (1x1); ``score_fc7``, ``score_pool4``,
    ``score_pool3`` (1x1, zeros at first, section 4.1 and 4.2); ``upsample_fc7``, ``upsample_pool4``
    (transposed 4x4 convolutions of stride 2, bilinear at first, then learned); ``upsample_final`` only with
    ``learn_final_upsampling``.

    Two things differ from the published Caffe models, and give the same receptive fields:

    * Those pad the image by 100 pixels, so that ``fc6`` without padding fits, and then crop each skip
      connection by an offset. Here the image is padded at the bottom and right to a multiple of 32 and
      ``fc6`` is padded by 3, so all maps align at the top left corner: any image size works, no skip needs
      a crop, and the logits are cropped once, at the end. The border sees fewer zeros, at less than
      half of the cost for a 224x224 image.
    * The "at once" models scale pool4 by 0.01 and pool3 by 0.0001, to train all streams together without
      a normalisation. Here the scales are fields and 1 by default: score layers that start at zero do the
      same for the start of training, and backbones with batch normalisation need no scale.

    Attributes:
      backbone: module that maps images to ``{"c1": ..., "c5": ...}`` of strides 2 to 32.
      num_classes: number of classes K, background included.
      stride: 32, 16 or 8 for FCN-32s, FCN-16s or FCN-8s.
      hidden: width of ``fc6`` and ``fc7``.
      dropout_rate: share of the channels' values dropped after ``fc6`` and ``fc7`` in training.
      pool4_scale: factor on pool4 in front of its score layer.
      pool3_scale: factor on pool3 in front of its score layer.
      learn_final_upsampling: whether the last upsampling is a learned transposed convolution; otherwise it
        is bilinear and has no parameters, as in the paper (section 4.3).
      dtype: dtype of the computation; the last upsampling and the logits are float32.
    """

    backbone: nn.Module
    num_classes: int
    stride: int = 8
    hidden: int = 4096
    dropout_rate: float = 0.5
    pool4_scale: float = 1.0
    pool3_scale: float = 1.0
    learn_final_upsampling: bool = False
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Scores each pixel.

        Args:
          images: ``[N, H, W, C]``, floating, normalised, of any size.
          train: whether dropout and the backbone's batch statistics are those of training; then a
            ``"dropout"`` key must be passed in ``rngs``.

        Returns:
          Logits ``[N, H, W, K]``, float32.

        Raises:
          ValueError: for another shape or dtype, an empty image, or an unknown stride.
        """
        if self.stride not in _STRIDES:
            raise ValueError(f"stride: expected one of {_STRIDES}, got {self.stride}")
        features = self.backbone(pad_images(images, 32), train=train)
        height, width = images.shape[1:3]
        x = features["c5"]  # [N, H / 32, W / 32, C5]
        for name, window in (("fc6", 7), ("fc7", 1)):
            x = nn.relu(Conv(self.hidden, window, padding=window // 2, dtype=self.dtype, name=name)(x))
            x = nn.Dropout(self.dropout_rate)(x, deterministic=not train)
        x = self._score(x, "score_fc7")  # [N, H / 32, W / 32, K]
        if self.stride <= 16:
            skip = self._score(features["c4"] * self.pool4_scale, "score_pool4")
            x = self._upsample(x, 2, "upsample_fc7") + skip  # [N, H / 16, W / 16, K]
        if self.stride == 8:
            skip = self._score(features["c3"] * self.pool3_scale, "score_pool3")
            x = self._upsample(x, 2, "upsample_pool4") + skip  # [N, H / 8, W / 8, K]
        x = x.astype(jnp.float32)
        if self.learn_final_upsampling:
            return self._upsample(x, self.stride, "upsample_final")[:, :height, :width]
        return bilinear_upsample(x, self.stride)[:, :height, :width]

    def _score(self, x: jax.Array, name: str) -> jax.Array:
        zeros = nn.initializers.zeros_init()
        return Conv(self.num_classes, 1, kernel_init=zeros, dtype=self.dtype, name=name)(x)

    def _upsample(self, x: jax.Array, factor: int, name: str) -> jax.Array:
        return ConvTranspose(
            self.num_classes,
            2 * factor,
            strides=factor,
            padding=factor // 2,
            use_bias=False,
            kernel_init=bilinear_kernel,
            dtype=x.dtype,
            name=name,
        )(x)


def bilinear_upsample(x: jax.Array, factor: int) -> jax.Array:
    """Enlarges maps by an even factor as FCN's fixed "deconvolution" does.

    Equal to a transposed convolution with the bilinear kernel of size ``2 factor``, stride ``factor`` and
    padding ``factor / 2``, one map a channel: pixels beyond the border count as zero, so the outermost
    ``factor / 2`` rows and columns fade. The kernel is separable, which makes it two small matrix products.

    Args:
      x: ``[N, H, W, C]``, floating.
      factor: even, at least 2.

    Returns:
      ``[N, factor * H, factor * W, C]``, in the dtype of ``x``.

    Raises:
      ValueError: for an odd factor or another shape.

    References:
      Long et al. 2015, section 3.3.

    >>> bilinear_upsample(jnp.ones((1, 1, 2, 1)), 2)[0, 1, :, 0]
    Array([0.5625, 0.75  , 0.75  , 0.5625], dtype=float32)
    """
    check_layout("x", x, "N H W C")
    check_floating(x=x)
    if factor < 2 or factor % 2:
        raise ValueError(f"factor: expected an even number of at least 2, got {factor}")
    rows, columns = (jnp.asarray(_interpolation(size, factor), x.dtype) for size in x.shape[1:3])
    exact = lax.Precision.HIGHEST  # on a TPU the default would round the logits to bfloat16
    x = jnp.einsum("yh,nhwc->nywc", rows, x, precision=exact)  # [N, factor * H, W, C]
    return jnp.einsum("xw,nywc->nyxc", columns, x, precision=exact)  # [N, factor * H, factor * W, C]


def _interpolation(size: int, factor: int) -> np.ndarray:
    """Weights of ``size`` pixels in each of the interpolated ones, ``[factor * size, size]``."""
    position = (np.arange(factor * size) + 0.5) / factor - 0.5  # in input pixels
    return np.maximum(0.0, 1.0 - np.abs(position[:, None] - np.arange(size)))
