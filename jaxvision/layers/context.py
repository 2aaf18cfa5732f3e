"""Modules that tell each pixel of a feature map what is far around it."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.core import check_layout
from jaxvision.layers.blocks import ConvNormAct
from jaxvision.layers.dropout import Dropout
from jaxvision.layers.initializers import Initializer, he_normal_fan_in
from jaxvision.layers.norm import BatchNorm
from jaxvision.layers.separable import SeparableConv
from jaxvision.ops.adaptive import adaptive_average_pool, global_average_pool
from jaxvision.ops.resize import resize


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling of DeepLabV3: one map seen through windows of several widths.

    In parallel a 1x1 convolution (``branch0``), dilated 3x3 convolutions (``branch1``, ``branch2``, ...) and
    a 1x1 convolution of the mean over the image (``pool``), each normalised and activated; side by side they
    go through a 1x1 convolution (``project``) and dropout. The mean's branch is enlarged to the map by
    bilinear interpolation, which of one pixel is that pixel everywhere. In training its normalisation has
    one element a channel and image, so the batch must have two images.

    Attributes:
      features: number of channels of each branch and of the result.
      rates: dilations of the 3x3 convolutions: (12, 24, 36) where the map is 1/8 of the image, (6, 12, 18)
        where it is 1/16.
      separable: whether the 3x3 convolutions are :class:`SeparableConv`, as in DeepLabV3+.
      separable_order: as :class:`SeparableConv`'s: ``"mobilenet"``, the authors', or ``"joint"``.
      dropout_rate: probability that an element of the result is zeroed in training.
      norm: makes the normalisations from ``dtype`` and ``name``; None leaves them out.
      activation: elementwise function; None leaves it out.
      kernel_init: initialiser of the kernels.
      dtype: dtype of the computation.

    References:
      Chen et al. 2017, *Rethinking Atrous Convolution for Semantic Image Segmentation*, section 3.3 and
      figure 5; dropout is torchvision's. Chen et al. 2018, *Encoder-Decoder with Atrous Separable Convolution
      for Semantic Image Segmentation*, section 3.1.
    """

    features: int = 256
    rates: Sequence[int] = (12, 24, 36)
    separable: bool = False
    separable_order: Literal["mobilenet", "joint"] = "mobilenet"
    dropout_rate: float = 0.5
    norm: Callable[..., nn.Module] | None = BatchNorm
    activation: Callable[[jax.Array], jax.Array] | None = nn.relu
    kernel_init: Initializer = he_normal_fan_in
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[N, H, W, C]`` to ``[N, H, W, features]``.

        Raises:
          ValueError: if ``x`` is not a batch of maps, or as :class:`ConvNormAct`.
        """
        check_layout("x", x, "N H W C", remedy="feature maps are [N, H, W, C]")
        options: dict[str, Any] = {
            "norm": self.norm,
            "activation": self.activation,
            "kernel_init": self.kernel_init,
            "dtype": self.dtype,
        }
        pixel = functools.partial(ConvNormAct, self.features, 1, **options)
        window: Callable[..., nn.Module] = functools.partial(ConvNormAct, self.features, 3, **options)
        if self.separable:
            window = functools.partial(SeparableConv, self.features, 3, order=self.separable_order, **options)
        branches = [pixel(name="branch0")(x, train=train)]
        for index, rate in enumerate(self.rates, start=1):
            branches.append(window(dilation=rate, name=f"branch{index}")(x, train=train))
        mean = pixel(name="pool")(global_average_pool(x)[:, None, None], train=train)  # [N, 1, 1, features]
        branches.append(jnp.broadcast_to(mean, branches[0].shape))
        y = pixel(name="project")(jnp.concatenate(branches, -1), train=train)
        return Dropout(self.dropout_rate)(y, train=train)


class PyramidPooling(nn.Module):
    """Pyramid pooling of PSPNet: a map beside its means over grids of several sizes.

    For each grid the means go through a 1x1 convolution (``bin1``, ``bin2``, ``bin3`` and ``bin6``),
    normalised and activated, and are enlarged to the map by bilinear interpolation. In training the
    normalisation of a grid of one has one element a channel and image, so the batch must have two images.

    Attributes:
      bins: sizes of the grids.
      features: number of channels of each grid; by default those of the map divided by the number of grids.
      align_corners: whether the corner pixels of grid and map lie on each other, as in the authors' code.
      map_first: whether the map's channels come in front of the grids', as in the paper, or behind, as in
        segmentation_models.pytorch.
      norm_single: whether a grid of one is normalised too. If not, its convolution has a bias, and training
        takes a batch of one image.
      norm: makes the normalisations from ``dtype`` and ``name``; None leaves them out.
      activation: elementwise function; None leaves it out.
      kernel_init: initialiser of the kernels.
      dtype: dtype of the computation.

    References:
      Zhao et al. 2017, *Pyramid Scene Parsing Network*, section 3.2 and figure 3.
    """

    bins: Sequence[int] = (1, 2, 3, 6)
    features: int | None = None
    align_corners: bool = True
    map_first: bool = True
    norm_single: bool = True
    norm: Callable[..., nn.Module] | None = BatchNorm
    activation: Callable[[jax.Array], jax.Array] | None = nn.relu
    kernel_init: Initializer = he_normal_fan_in
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[N, H, W, C]`` to ``[N, H, W, C + features * len(bins)]``: the map and the grids in order.

        Raises:
          ValueError: if ``x`` is not a batch of maps, or has fewer channels than there are grids and
            ``features`` is None.
        """
        check_layout("x", x, "N H W C", remedy="feature maps are [N, H, W, C]")
        features = x.shape[-1] // len(self.bins) if self.features is None else self.features
        if features < 1:
            raise ValueError(
                f"x: expected at least {len(self.bins)} channels, got {list(x.shape)}; give features"
            )
        size = x.shape[1:3]
        maps = []
        for grid in self.bins:
            y = ConvNormAct(
                features,
                1,
                norm=self.norm if grid > 1 or self.norm_single else None,
                activation=self.activation,
                kernel_init=self.kernel_init,
                dtype=self.dtype,
                name=f"bin{grid}",
            )(adaptive_average_pool(x, grid), train=train)
            maps.append(resize(y, size, method="bilinear", align_corners=self.align_corners))
        maps.insert(0 if self.map_first else len(maps), x if self.dtype is None else x.astype(self.dtype))
        return jnp.concatenate(maps, -1)
