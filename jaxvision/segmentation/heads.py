"""What networks on dilated backbones share: a small head, auxiliary logits, scores at the image's size."""

from collections.abc import Callable, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.layers import BatchNorm, Conv, ConvNormAct, SpatialDropout, he_uniform
from jaxvision.layers.dropout import Dropout
from jaxvision.layers.initializers import Initializer
from jaxvision.ops import resize

torch_uniform: Initializer = he_uniform(negative_slope=5**0.5)
"""What ``torch.nn.Conv2d`` starts from, uniform of ±``1 / sqrt(fan-in)``."""


class FCNHead(nn.Module):
    """A 3x3 convolution, dropout, and a 1x1 convolution that scores: torchvision's ``FCNHead``.

    Submodules: ``conv`` (``conv`` and ``norm``) and ``head``.

    Attributes:
      num_classes: number of classes K.
      features: number of channels between the two; None takes a quarter of the input's.
      dropout_rate: share dropped in training.
      drop_channels: whether dropout drops whole channels, as in PSPNet's code, or elements.
      norm: makes the normalisation from ``dtype`` and ``name``; None leaves it out.
      kernel_init: initialiser of the kernels.
      dtype: dtype of the computation.
    """

    num_classes: int
    features: int | None = None
    dropout_rate: float = 0.1
    drop_channels: bool = False
    norm: Callable[..., nn.Module] | None = BatchNorm
    kernel_init: Initializer = torch_uniform
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[N, H, W, C]`` to scores ``[N, H, W, K]``.

        Raises:
          ValueError: if ``x`` is not a batch of maps.
        """
        features = max(1, x.shape[-1] // 4) if self.features is None else self.features
        x = ConvNormAct(
            features, 3, norm=self.norm, kernel_init=self.kernel_init, dtype=self.dtype, name="conv"
        )(x, train=train)  # [N, H, W, features]
        dropout = SpatialDropout if self.drop_channels else Dropout
        x = dropout(self.dropout_rate)(x, train=train)
        head = Conv(self.num_classes, 1, kernel_init=self.kernel_init, dtype=self.dtype, name="head")
        scores: jax.Array = head(x)
        return scores  # [N, H, W, K]


def take_level(features: Mapping[str, jax.Array], level: str, *, field: str) -> jax.Array:
    """One of a backbone's feature maps.

    Args:
      features: by name, such as ``"c5"``.
      level: the name of one.
      field: of the network, that chose it, for the message.

    Returns:
      ``[N, H, W, C]``.

    Raises:
      ValueError: if there is no such map.

    >>> take_level({"c5": jnp.zeros((1, 2, 2, 4))}, "c5", field="level").shape
    (1, 2, 2, 4)
    """
    if level not in features:
        raise ValueError(f"{field}: the backbone has the feature maps {', '.join(features)}, got {level!r}")
    return features[level]


def enlarge_scores(scores: jax.Array, size: tuple[int, int], *, align_corners: bool) -> jax.Array:
    """Scores of a coarse map at each pixel of the image, in float32, by bilinear interpolation.

    Args:
      scores: ``[N, h, w, K]``, floating.
      size: ``(H, W)`` of the image.
      align_corners: as :func:`jaxvision.ops.resize`.

    Returns:
      ``[N, H, W, K]``, float32.

    >>> enlarge_scores(jnp.ones((1, 2, 2, 3), jnp.bfloat16), (5, 7), align_corners=False).shape
    (1, 5, 7, 3)
    """
    return resize(scores.astype(jnp.float32), size, align_corners=align_corners)


def write_aux_logits(
    network: nn.Module,
    head: Callable[[], FCNHead],
    features: jax.Array,
    size: tuple[int, int],
    *,
    train: bool,
    align_corners: bool,
) -> None:
    """Runs an auxiliary head in training; its logits go to the collection ``"aux_logits"`` as ``"aux"``.

    Nothing reads them in evaluation, so that the head does not run; initialisation makes its parameters in
    either mode.

    Args:
      network: the module that the head is a part of, inside its compact call.
      head: makes the head.
      features: ``[N, h, w, C]``, what it reads.
      size: ``(H, W)`` of the image.
      train: whether this is training.
      align_corners: as :func:`enlarge_scores`.
    """
    if not (train or network.is_initializing()):
        return
    logits = enlarge_scores(head()(features, train=train), size, align_corners=align_corners)
    if not network.is_initializing():
        network.sow("aux_logits", "aux", logits, reduce_fn=lambda _, new: new)
