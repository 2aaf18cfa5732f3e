"""Classification heads for any backbone that returns ``{"c1": ..., "c5": ...}``."""

import math
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.ops import adaptive_average_pool, global_average_pool, spatial_pyramid_pool


class PooledClassifier(nn.Module):
    """Global average pooling and one linear layer (Lin et al. 2014, *Network in Network*, section 3.2).

    Submodules: ``backbone``, ``head``.

    Attributes:
      backbone: module that maps images to a dict of features.
      num_classes: number of classes K.
      dropout_rate: share of pooled features dropped in training.
      feature: name of the feature map that is pooled, the backbone's last one.
      dtype: dtype of the computation.
    """

    backbone: nn.Module
    num_classes: int
    dropout_rate: float = 0.0
    feature: str = "c5"
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Maps images ``[N, H, W, C]``, or clips ``[N, T, H, W, C]``, to logits ``[N, K]``, float32.

        With ``train`` and a dropout rate, a ``"dropout"`` key must be passed in ``rngs``.

        Raises:
          ValueError: as the backbone, or if it has no such feature map.
        """
        x = take_feature(self.backbone(images, train=train), self.feature)
        x = global_average_pool(x)  # [N, C]
        x = nn.Dropout(self.dropout_rate)(x, deterministic=not train)
        logits = nn.Dense(self.num_classes, dtype=self.dtype, name="head")(x)  # [N, K]
        return logits.astype(jnp.float32)


class VGGClassifier(nn.Module):
    """The head of VGG: two wide fully connected layers over a 7x7 grid, then the scores.

    Submodules: ``backbone``, ``fc6``, ``fc7`` (named as in the published Caffe model) and ``head``. The paper
    takes 224x224 images, whose last map is 7x7; for other sizes the map is averaged to 7x7 regions, as
    torchvision does, which changes nothing at 224x224.

    Attributes:
      backbone: module that maps images to a dict with ``"c5"``.
      num_classes: number of classes K.
      hidden: width of ``fc6`` and ``fc7``.
      dropout_rate: share of the two hidden layers dropped in training.
      dtype: dtype of the computation.

    References:
      Simonyan and Zisserman 2015, section 2.1 and table 1; initialised N(0, 0.01) as in section 3.1.
    """

    backbone: nn.Module
    num_classes: int = 1000
    hidden: int = 4096
    dropout_rate: float = 0.5
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Maps images ``[N, H, W, C]`` to logits ``[N, K]``, float32.

        With ``train`` and a dropout rate, a ``"dropout"`` key must be passed in ``rngs``.

        Raises:
          ValueError: as the backbone, or if it has no c5.
        """
        x = take_feature(self.backbone(images, train=train), "c5")
        x = adaptive_average_pool(x, 7)  # [N, 7, 7, C5]
        x = x.reshape(x.shape[0], math.prod(x.shape[1:]))  # [N, 49 * C5]; -1 fails on an empty batch
        return _fully_connected(self, x, train)


class SPPClassifier(nn.Module):
    """Spatial pyramid pooling, then the layers of VGG's head: fully connected layers for images of any size.

    The last map is pooled by its maxima over grids of several sizes, so that the fully connected layers read
    as many numbers from a map of any size: the parameters do not depend on the size of the images.
    Submodules: ``backbone``, ``fc6``, ``fc7`` and ``head``, as those of :class:`VGGClassifier`.

    Attributes:
      backbone: module that maps images to a dict of features.
      num_classes: number of classes K.
      levels: sizes of the grids.
      hidden: width of ``fc6`` and ``fc7``.
      dropout_rate: share of the two hidden layers dropped in training.
      feature: name of the feature map that is pooled; by default the backbone's last one (of a
        :class:`jaxvision.backbones.ViT` the map of the patches).
      dtype: dtype of the computation.

    References:
      He et al. 2014, *Spatial Pyramid Pooling in Deep Convolutional Networks for Visual Recognition*,
      sections 2.2 and 3.1: levels of 1, 2, 3 and 6, 50 regions in all. The regions are those of
      :func:`jaxvision.ops.spatial_pyramid_pool`. The paper's pyramid takes the place of the last max pooling;
      here it pools c5, which in a VGG is behind that pooling. Initialised N(0, 0.01), as VGG.
    """

    backbone: nn.Module
    num_classes: int = 1000
    levels: tuple[int, ...] = (1, 2, 3, 6)
    hidden: int = 4096
    dropout_rate: float = 0.5
    feature: str | None = None
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Maps images ``[N, H, W, C]`` to logits ``[N, K]``, float32.

        With ``train`` and a dropout rate, a ``"dropout"`` key must be passed in ``rngs``.

        Raises:
          ValueError: as the backbone, or if it has no such feature map; or if there is no level.
        """
        features = self.backbone(images, train=train)
        last = max(name for name, x in features.items() if x.ndim > 2)  # a class token is no map
        x = take_feature(features, last if self.feature is None else self.feature)
        x = spatial_pyramid_pool(x, levels=self.levels)  # [N, sum(l * l) * C]
        return _fully_connected(self, x, train)


def take_feature(features: Mapping[str, jax.Array], name: str) -> jax.Array:
    """One of a backbone's feature maps, or a ValueError that says which there are."""
    if name not in features:
        raise ValueError(f"the backbone gives {sorted(features)} and no {name!r}; keep as many stages")
    return features[name]


def _fully_connected(model: VGGClassifier | SPPClassifier, x: jax.Array, train: bool) -> jax.Array:
    """The two hidden layers and the scores ``[N, K]``, submodules of the classifier that calls it."""

    def dense(features: int, name: str) -> nn.Dense:
        return nn.Dense(features, kernel_init=nn.initializers.normal(0.01), dtype=model.dtype, name=name)

    for name in ("fc6", "fc7"):
        x = nn.relu(dense(model.hidden, name)(x))  # [N, hidden]
        x = nn.Dropout(model.dropout_rate)(x, deterministic=not train)
    return dense(model.num_classes, "head")(x).astype(jnp.float32)  # [N, K]
