"""C3D (Tran et al. 2015): VGG with 3x3x3 convolutions, for clips of 16 frames."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.backbones.classifier import take_feature
from jaxvision.core import check_floating, check_layout, check_stages, find_variant
from jaxvision.layers import Conv
from jaxvision.ops import adaptive_average_pool, max_pool

C3D_VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {"c3d": {"convolutions": (1, 1, 2, 2, 2), "features": (64, 128, 256, 512, 512)}}
)
"""Fields of :func:`c3d` by name. Tran et al. 2015, section 3.3 and figure 3."""


class C3D(nn.Module):
    """The convolutional part of C3D.

    Submodules: ``stage{s}_conv{i}``, both counted from 1. Each stage is closed by a max pooling of 2x2x2, the
    first one by 1x2x2, "not to merge the temporal signal too early".

    Attributes:
      convolutions: number of convolutions in each stage, the paper's groups conv1a to conv5b.
      features: number of channels of each stage.
      last_padding: border of the last pooling, ``(before, after)`` in time, height and width, with which the
        7x7 map of a 112x112 clip becomes 4x4. The paper does not say how; the default is that of the PyTorch
        port, a pixel on all sides. The authors' Caffe code, which trained the Sports-1M weights, lets the
        windows hang over the end instead: ``((0, 0), (0, 1), (0, 1))``.
      dtype: dtype of the computation; parameters stay float32.
    """

    convolutions: tuple[int, ...] = (1, 1, 2, 2, 2)
    features: tuple[int, ...] = (64, 128, 256, 512, 512)
    last_padding: tuple[tuple[int, int], ...] = ((0, 0), (1, 1), (1, 1))
    dtype: DTypeLike | None = None

    @property
    def channels(self) -> dict[str, int]:
        """Number of channels of each feature map: ``{"c1": 64, ..., "c5": 512}``."""
        return {f"c{stage}": width for stage, width in enumerate(self.features, start=1)}

    @property
    def strides(self) -> dict[str, int]:
        """Stride of each feature map's height and width against the clip's: 2, 4, 8, 16, 32."""
        return {f"c{stage}": 2**stage for stage in range(1, len(self.features) + 1)}

    @property
    def temporal_strides(self) -> dict[str, int]:
        """Stride of each feature map's time against the frames: 1, 2, 4, 8, 16."""
        return {f"c{stage}": 2 ** (stage - 1) for stage in range(1, len(self.features) + 1)}

    @nn.compact
    def __call__(self, clips: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Computes the features of each stage, after its pooling.

        Args:
          clips: ``[N, T, H, W, C]``, floating, normalised; at least 16 frames of 16x16 pixels (32x32 without
            a ``last_padding``). The paper's are 16 frames of 112x112.
          train: not used: nothing here differs in training.

        Returns:
          ``{"c1": [N, T, H/2, W/2, 64], ..., "c5": [N, T/16, H5, W5, 512]}``, sizes rounded down: the outputs
          of the max poolings. With the default padding ``H5`` and ``W5`` are one more than half of c4's.

        Raises:
          ValueError: for another shape or dtype, too few frames or too small frames, or ``convolutions`` and
            ``features`` of unequal length.
        """
        del train
        check_layout("clips", clips, "N T H W C", remedy="clips are a batch, frames first, channels last")
        check_floating(clips=clips)
        check_stages(convolutions=self.convolutions, features=self.features)
        self._check_size(clips)
        x = clips
        outputs: dict[str, jax.Array] = {}
        last = len(self.features)
        for stage, (count, width) in enumerate(zip(self.convolutions, self.features, strict=True), start=1):
            for layer in range(1, count + 1):
                x = nn.relu(self._conv(width, stage, layer)(x))  # [N, T', H', W', width]
            window = (1 if stage == 1 else 2, 2, 2)
            x = max_pool(x, window, padding=self.last_padding if stage == last else 0)
            outputs[f"c{stage}"] = x
        return outputs

    def _conv(self, features: int, stage: int, layer: int) -> Conv:
        first = (stage, layer) == (1, 1)
        return Conv(
            features,
            (3, 3, 3),
            padding=1,
            kernel_init=nn.initializers.normal(0.01),
            bias_init=nn.initializers.constant(0.0 if first else 1.0),
            dtype=self.dtype,
            name=f"stage{stage}_conv{layer}",
        )

    def _check_size(self, clips: jax.Array) -> None:
        """The last pooling needs a window of 2 in each axis, its padding counted."""
        time, *pixels = (max(1, 2 - sum(pair)) for pair in self.last_padding)
        last = len(self.features)
        least = (time * 2 ** (last - 2), *(side * 2 ** (last - 1) for side in pixels))
        if any(size < wanted for size, wanted in zip(clips.shape[1:4], least, strict=True)):
            raise ValueError(
                f"clips: expected at least {least[0]} frames of {least[1]}x{least[2]} pixels, got "
                f"{list(clips.shape)}; take longer clips, or pad or resize the frames"
            )


class C3DClassifier(nn.Module):
    """The head of C3D: two wide fully connected layers over a map of 1x4x4, then the scores.

    Submodules: ``backbone``, ``fc6``, ``fc7`` and ``head``. The paper takes 16 frames of 112x112, whose last
    map is 1x4x4; for other sizes the map is averaged to 1x4x4 regions, as
    :class:`jaxvision.backbones.VGGClassifier` does to 7x7.

    Attributes:
      backbone: module that maps clips to a dict with ``"c5"``.
      num_classes: number of classes K; 487 are those of Sports-1M.
      hidden: width of ``fc6`` and ``fc7``.
      dropout_rate: share of the two hidden layers dropped in training.
      dtype: dtype of the computation.

    References:
      Tran et al. 2015, section 3.3 and figure 3; initialisation and dropout as in the authors' Caffe files.
    """

    backbone: nn.Module
    num_classes: int = 487
    hidden: int = 4096
    dropout_rate: float = 0.5
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, clips: jax.Array, *, train: bool) -> jax.Array:
        """Maps clips ``[N, T, H, W, C]`` to logits ``[N, K]``, float32.

        With ``train`` and a dropout rate, a ``"dropout"`` key must be passed in ``rngs``.

        Raises:
          ValueError: as the backbone, or if it has no c5.
        """
        x = take_feature(self.backbone(clips, train=train), "c5")
        x = adaptive_average_pool(x, (1, 4, 4))  # [N, 1, 4, 4, C5]
        x = x.reshape(x.shape[0], math.prod(x.shape[1:]))  # [N, 16 * C5]; -1 fails on an empty batch
        for name in ("fc6", "fc7"):
            x = nn.Dense(
                self.hidden,
                kernel_init=nn.initializers.normal(0.005),
                bias_init=nn.initializers.ones_init(),
                dtype=self.dtype,
                name=name,
            )(x)  # [N, hidden]
            x = nn.Dropout(self.dropout_rate)(nn.relu(x), deterministic=not train)
        kernel_init = nn.initializers.normal(0.01)
        head = nn.Dense(self.num_classes, kernel_init=kernel_init, dtype=self.dtype, name="head")
        return head(x).astype(jnp.float32)  # [N, K]


def c3d(variant: str, **overrides: Any) -> C3D:
    """Builds a C3D backbone by name.

    Args:
      variant: a key of :data:`C3D_VARIANTS`.
      **overrides: fields of :class:`C3D` to set or replace.

    Returns:
      The module, without parameters.

    Raises:
      ValueError: for an unknown variant.

    References:
      Tran et al. 2015, *Learning Spatiotemporal Features with 3D Convolutional Networks*, section 3.3.
      Kernels start from N(0, 0.01) and biases, but those of the first layer, from 1, as in the authors' Caffe
      files.

    >>> c3d("c3d").temporal_strides
    {'c1': 1, 'c2': 2, 'c3': 4, 'c4': 8, 'c5': 16}
    """
    fields = find_variant("C3D variant", variant, C3D_VARIANTS)
    return C3D(**{**fields, **overrides})
