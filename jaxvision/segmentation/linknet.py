"""LinkNet (Chaurasia and Culurciello 2017): a decoder that adds the encoder's maps to its own."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.layers import (
    BatchNorm,
    Conv,
    ConvNormAct,
    ConvTransposeNormAct,
    he_uniform,
    xavier_uniform,
)
from jaxvision.segmentation.backbone_unet import decoder_steps
from jaxvision.segmentation.resolution import pad_images

# What torch.nn.ConvTranspose2d starts with; its fan-in counts output channels, as our fan-out does.
_TORCH_DEFAULT = he_uniform(mode="fan_out", negative_slope=5**0.5)


class LinkNetBlock(nn.Module):
    """A 1x1 convolution to a quarter of the channels, a doubling, and a 1x1 convolution: figure 3.

    Submodules: ``reduce``, ``upsample`` (a transposed 4x4 convolution of stride 2) and ``expand``, each
    ``conv`` and ``norm``.

    Attributes:
      features: number of output channels.
      norm: makes a normalisation from ``dtype`` and ``name``.
      dtype: dtype of the computation.
    """

    features: int
    norm: Callable[..., nn.Module] = BatchNorm
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[N, H, W, C]`` to ``[N, 2 H, 2 W, features]``."""
        inner = x.shape[-1] // 4
        x = self._mix(inner, "reduce")(x, train=train)  # [N, H, W, C / 4]
        x = ConvTransposeNormAct(
            inner,
            4,
            strides=2,
            padding=1,
            norm=self.norm,
            use_bias=True,
            kernel_init=_TORCH_DEFAULT,
            dtype=self.dtype,
            name="upsample",
        )(x, train=train)  # [N, 2 H, 2 W, C / 4]
        return self._mix(self.features, "expand")(x, train=train)  # [N, 2 H, 2 W, features]

    def _mix(self, features: int, name: str) -> ConvNormAct:
        return ConvNormAct(features, 1, norm=self.norm, kernel_init=he_uniform(), dtype=self.dtype, name=name)


class LinkNet(nn.Module):
    """The network of figure 1 on any backbone whose feature maps halve each other's size.

    Submodules: ``backbone``; ``decoder_block{i}``, counted from 0 at the coarsest map; and ``head``, a 1x1
    convolution. The image is padded with zeros at the bottom and right to a multiple of the coarsest map's
    stride and the logits are cropped, so that any size works.

    Attributes:
      backbone: module that maps images to a dict of features and declares their ``strides``, which must be
        2, 4, 8 and so on; the paper's is a ResNet-18.
      num_classes: number of classes K, background included.
      last_features: number of channels in front of the head.
      norm: makes the decoder's normalisations from ``dtype`` and ``name``.
      dtype: dtype of the computation of decoder and head; parameters, statistics and logits stay float32.

    References:
      Chaurasia and Culurciello 2017, *LinkNet: Exploiting Encoder Representations for Efficient Semantic
      Segmentation*, section III. Here as segmentation_models.pytorch 0.5 (``Linknet``), whose weights on
      ResNets fit (``jaxvision.weights.smp_linknet_rules``): four things differ from the paper. Its transposed
      convolutions are 3x3; the stem's map is linked too, by a fifth block, where the paper has a transposed
      and a plain 3x3 convolution; scores come of a 1x1 convolution at full size, not of a transposed 2x2 one;
      and the transposed convolutions keep a bias in front of their normalisation.
    """

    backbone: nn.Module
    num_classes: int
    last_features: int = 32
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
          ValueError: for another shape or dtype, an empty image, or a backbone whose maps do not halve.
        """
        strides = self.backbone.strides
        padded = pad_images(images, max(strides.values()))
        maps = self.backbone(padded, train=train)
        deepest, skips = halving_maps(strides)
        x = maps[deepest]
        for index, name in enumerate([*skips, None]):
            width = self.last_features if name is None else maps[name].shape[-1]
            block = LinkNetBlock(width, self.norm, self.dtype, name=f"decoder_block{index}")
            x = block(x, train=train)  # twice the size, width channels
            if name is not None:
                if maps[name].shape != x.shape:
                    raise ValueError(
                        f"backbone: of an image of {list(padded.shape[1:3])} its map {name} is "
                        f"{list(maps[name].shape[1:3])}, and {list(x.shape[1:3])} is twice the next one's; "
                        "BackboneUNet takes such a backbone"
                    )
                x = x + maps[name].astype(x.dtype)
        x = Conv(self.num_classes, 1, kernel_init=xavier_uniform(), dtype=self.dtype, name="head")(x)
        return x[:, : images.shape[1], : images.shape[2]].astype(jnp.float32)  # [N, H, W, K]


def halving_maps(strides: dict[str, int]) -> tuple[str, list[str]]:
    """The coarsest feature map of a backbone and the others, from coarse to fine, of strides 2, 4, 8, ...

    Args:
      strides: of each feature map, by name.

    Returns:
      Name of the coarsest map, names of the others.

    Raises:
      ValueError: if the strides are others.

    >>> halving_maps({"c1": 2, "c2": 4, "c3": 8})
    ('c3', ['c2', 'c1'])
    """
    deepest, steps = decoder_steps(strides)
    skips = [name for name, _ in steps if name is not None]
    if [strides[name] for name in (deepest, *skips)] != [2**n for n in range(len(strides), 0, -1)]:
        raise ValueError(
            f"backbone: expected feature maps of strides 2, 4, 8 and so on, got {strides}; BackboneUNet "
            "takes any backbone"
        )
    return deepest, skips
