"""U-Net (Ronneberger, Fischer and Brox 2015): a contracting and an expanding path, joined at each level."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.layers import BatchNorm, Conv, ConvTranspose, he_normal_fan_in
from jaxvision.ops import max_pool
from jaxvision.segmentation.resolution import check_image_batch, pad_images


class UNet(nn.Module):
    """The network of figure 1.

    Submodules, levels ``l`` counted from 1 at full resolution: ``encoder{l}_conv1``, ``encoder{l}_conv2``
    (the last level is the bottom of the U), ``decoder{l}_upsample``, ``decoder{l}_conv1``,
    ``decoder{l}_conv2``, each convolution with a ``..._norm1`` or ``..._norm2`` if ``use_norm``; ``head``.

    Padding: the paper's convolutions are not padded, so a 572x572 tile gives 388x388 scores, which suits
    its tiling of huge microscope images with mirrored borders. For photographs one score for each pixel
    is wanted, so the default is ``"same"``: convolutions padded by 1, the image padded with zeros at the
    bottom and right to a multiple of 16 (2 to the number of poolings) and the logits cropped back; so any
    size works. ``"valid"`` is the paper's.

    Attributes:
      num_classes: number of classes K.
      features: number of channels of each level, top to bottom.
      padding: ``"same"`` or ``"valid"``.
      use_norm: whether a batch normalisation follows each 3x3 convolution (which then has no bias). The paper
        predates it; training from random weights is far easier with it.
      dropout_rate: share dropped at the bottom, the end of the contracting path, in training. The paper
        gives no rate; its published model has 0.5.
      axis_name: axis of ``pmap`` over which batch statistics are averaged; None keeps them local.
      dtype: dtype of the computation; parameters, statistics and logits stay float32.
    """

    num_classes: int
    features: tuple[int, ...] = (64, 128, 256, 512, 1024)
    padding: str = "same"
    use_norm: bool = False
    dropout_rate: float = 0.5
    axis_name: str | None = None
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Scores each pixel.

        Args:
          images: ``[N, H, W, C]``, floating, normalised. Any size with ``"same"``; with ``"valid"`` a size
            for which :func:`unet_valid_size` has an answer.
          train: whether dropout and batch statistics are those of training; with dropout a ``"dropout"``
            key must be passed in ``rngs``.

        Returns:
          Logits ``[N, H, W, K]``, float32; ``[N, H', W', K]`` of the central pixels with ``"valid"``.

        Raises:
          ValueError: for another shape or dtype, a size that does not fit, or an unknown padding.
        """
        check_image_batch(images)
        height, width = self._output_size(images)
        x = pad_images(images, 2 ** (len(self.features) - 1)) if self.padding == "same" else images
        *levels, bottom = enumerate(self.features, start=1)
        skips: list[jax.Array] = []
        for level, channels in levels:
            x = self._convolve_twice(x, channels, f"encoder{level}", train)
            skips.append(x)
            x = max_pool(x, 2)  # [N, H / 2, W / 2, channels]
        x = self._convolve_twice(x, bottom[1], f"encoder{bottom[0]}", train)
        x = nn.Dropout(self.dropout_rate)(x, deterministic=not train)
        for level, channels in reversed(levels):
            name = f"decoder{level}"
            x = ConvTranspose(channels, 2, strides=2, dtype=self.dtype, name=f"{name}_upsample")(x)
            skip = _crop_centre(skips.pop(), x.shape[1], x.shape[2])
            x = jnp.concatenate([skip, x], axis=-1)  # [N, 2 H, 2 W, 2 * channels]
            x = self._convolve_twice(x, channels, name, train)
        x = Conv(self.num_classes, 1, dtype=self.dtype, name="head")(x)
        return x[:, :height, :width].astype(jnp.float32)  # [N, H, W, K]

    def _convolve_twice(self, x: jax.Array, channels: int, name: str, train: bool) -> jax.Array:
        """Two 3x3 convolutions, each with its ReLU."""
        for layer in (1, 2):
            x = Conv(
                channels,
                3,
                padding=1 if self.padding == "same" else 0,
                use_bias=not self.use_norm,
                kernel_init=he_normal_fan_in,  # section 3: N(0, sqrt(2 / N)), N incoming nodes
                dtype=self.dtype,
                name=f"{name}_conv{layer}",
            )(x)
            if self.use_norm:
                norm = BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name=f"{name}_norm{layer}")
                x = norm(x, train=train)
            x = nn.relu(x)
        return x

    def _output_size(self, images: jax.Array) -> tuple[int, int]:
        """Height and width of the logits; checks the size of the images."""
        height, width = images.shape[1:3]
        if self.padding == "valid":
            levels = len(self.features)
            return unet_valid_size(height, levels=levels), unet_valid_size(width, levels=levels)
        if self.padding != "same":
            raise ValueError(f"padding: expected 'same' or 'valid', got {self.padding!r}")
        return height, width


def unet_valid_size(size: int, *, levels: int = 5) -> int:
    """Height or width of the scores of a U-Net without padding.

    Args:
      size: height or width of the image.
      levels: number of levels, the bottom included.

    Returns:
      The size of the central region that is scored.

    Raises:
      ValueError: if a pooling would meet an odd size or nothing would be left; names the next size that fits.

    References:
      Ronneberger et al. 2015, figure 1 and the end of section 2.

    >>> unet_valid_size(572)
    388
    """
    result = _valid_size(size, levels)
    if result is not None:
        return result
    larger = next(n for n in range(max(size, 0), max(size, 0) + 6 * 2**levels) if _valid_size(n, levels))
    raise ValueError(
        f"images: a U-Net of {levels} levels without padding cannot take {size} pixels; the next size that "
        f'fits is {larger}; pad (mirror) the image, or use padding="same"'
    )


def _valid_size(size: int, levels: int) -> int | None:
    """The size of the scores, or None where ``size`` does not fit."""
    for _ in range(levels - 1):
        size -= 4
        if size <= 0 or size % 2:
            return None
        size //= 2
    size -= 4
    for _ in range(levels - 1):
        size = 2 * size - 4
    return size if size > 0 else None


def _crop_centre(x: jax.Array, height: int, width: int) -> jax.Array:
    """The central ``[N, height, width, C]`` of a map; the map itself if it has that size."""
    top, left = (x.shape[1] - height) // 2, (x.shape[2] - width) // 2
    return x[:, top : top + height, left : left + width]
