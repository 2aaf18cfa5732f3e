"""CRNN (Shi, Bai and Yao 2015): convolutions, a recurrent network over the columns, labels for CTC."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.core import check_floating, check_layout, find_variant
from jaxvision.layers import LSTM, BatchNorm, Conv, he_normal_fan_out
from jaxvision.ops import max_pool

HEIGHT = 32
"""Height of the images in pixels, from which the convolutions leave one row."""

CRNN_VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "crnn": {"features": (64, 128, 256, 256, 512, 512, 512), "hidden": 256},
        "crnn_small": {
            "features": (24, 48, 64, 64, 96, 96, 96),
            "hidden": 64,
            "num_layers": 1,
            "norm_from": 1,
        },
    }
)
"""Fields of :func:`crnn` by name.

Table 1 of the paper; the small one is ours, for strings of digits on a CPU.
"""

_POOLS = {1: (2, 2), 2: (2, 2), 4: (2, 1), 6: (2, 1)}  # (height, width) behind convolutions 1, 2, 4 and 6


class CRNN(nn.Module):
    """Scores of each label, and of the blank, for each column of a line of text.

    Submodules: ``conv1`` to ``conv7``, ``norm5`` and ``norm6``, ``rnn`` (two bidirectional LSTM), ``head``.
    Convolutions 1 to 6 are 3x3 and keep the size, the last is 2x2 without padding; pooling 2x2 follows 1 and
    2, pooling of two rows and one column 4 and 6. An image of 32 rows and W columns becomes one row of
    ``W // 4 - 1`` columns.

    Attributes:
      num_labels: K, number of labels with the blank, which is label 0.
      features: channels of the seven convolutions.
      hidden: units of the LSTM in each direction.
      num_layers: LSTM layers.
      norm_from: the first convolution that a batch normalisation follows, up to the sixth: 5 in the paper.
      dropout_rate: between the LSTM layers in training; the paper has none.
      axis_name: axis of ``pmap`` over which batch statistics are averaged; None keeps them local.
      dtype: dtype of the computation; parameters, statistics and logits stay float32.

    References:
      Shi, Bai and Yao 2015, *An End-to-End Trainable Neural Network for Image-based Sequence Recognition and
      Its Application to Scene Text Recognition*, table 1 and section 2. Its "1x2" windows are one column wide
      and two rows high (section 3.2); its authors' code has 2x2 windows with a step of one column there, and
      a linear layer between the LSTM, which the paper does not name.
    """

    num_labels: int
    features: tuple[int, ...] = (64, 128, 256, 256, 512, 512, 512)
    hidden: int = 256
    num_layers: int = 2
    norm_from: int = 5
    dropout_rate: float = 0.0
    axis_name: str | None = None
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Maps images ``[N, 32, W, C]`` to logits ``[N, W // 4 - 1, K]``, float32.

        Args:
          images: floating, normalised; 32 pixels high, at least 8 wide.
          train: whether batch normalisation uses, and updates, the statistics of this batch.

        Raises:
          ValueError: for another shape or dtype, or a number of features that is not seven.
        """
        check_layout("images", images, "N H W C", remedy="images are a batch, channels last")
        check_floating(images=images)
        if images.shape[1] != HEIGHT or images.shape[2] < 8:
            raise ValueError(
                f"images: expected {HEIGHT} pixels high and at least 8 wide, got {list(images.shape)}; "
                f"resize lines of text to a height of {HEIGHT}"
            )
        if len(self.features) != 7:
            raise ValueError(f"features: expected seven numbers, one a convolution, got {self.features}")
        x = images
        for number, width in enumerate(self.features, start=1):
            x = self._convolve(x, number, width, train)
        x = x.reshape(x.shape[0], x.shape[2], x.shape[3])  # [N, T, C] of [N, 1, T, C]
        net = LSTM(
            self.hidden,
            num_layers=self.num_layers,
            bidirectional=True,
            dropout_rate=self.dropout_rate,
            dtype=self.dtype,
            name="rnn",
        )
        x, _ = net(x, train=train)  # [N, T, 2 hidden]
        logits = nn.Dense(self.num_labels, dtype=self.dtype, name="head")(x)  # [N, T, K]
        return logits.astype(jnp.float32)

    def _convolve(self, x: jax.Array, number: int, width: int, train: bool) -> jax.Array:
        last = number == len(self.features)
        x = Conv(
            width,
            2 if last else 3,
            padding=0 if last else 1,
            kernel_init=he_normal_fan_out,
            dtype=self.dtype,
            name=f"conv{number}",
        )(x)
        if self.norm_from <= number < 7:
            x = BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name=f"norm{number}")(x, train=train)
        x = nn.relu(x)
        return max_pool(x, _POOLS[number]) if number in _POOLS else x


def num_steps(width: int) -> int:
    """The columns that a :class:`CRNN` makes of an image so many pixels wide.

    >>> num_steps(100)
    24
    """
    return width // 4 - 1


def crnn(variant: str, **overrides: Any) -> CRNN:
    """Builds a CRNN by name.

    Args:
      variant: a key of :data:`CRNN_VARIANTS`.
      **overrides: fields of :class:`CRNN` to set or replace; ``num_labels`` is needed.

    Returns:
      The module, without parameters.

    Raises:
      ValueError: for an unknown variant.

    >>> crnn("crnn", num_labels=37).hidden
    256
    """
    fields = find_variant("CRNN variant", variant, CRNN_VARIANTS)
    return CRNN(**{**fields, **overrides})
