"""GoogLeNet (Szegedy et al. 2015), or Inception-v1: blocks of convolutions of several sizes side by side."""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.core import check_floating, check_layout, find_variant
from jaxvision.layers import BatchNorm, ConvNormAct, InceptionBlock, lecun_uniform, truncated_normal
from jaxvision.layers.initializers import Initializer
from jaxvision.ops import adaptive_average_pool, global_average_pool, local_response_norm, max_pool

# Table 1 of the paper, rows inception (3a) to (5b): the fields of InceptionBlock in their order.
_BLOCKS = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)
GOOGLENET_VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "googlenet": {},
        "googlenet_paper": {
            "kernel_size": 5,
            "last_window": 3,
            "norm": None,
            "response_norm": True,
            "kernel_init": lecun_uniform,
        },
    }
)
"""Fields of :func:`googlenet` by name.

"googlenet" is torchvision's: batch normalisation, which the paper predates, 3x3 kernels in the branch of 5x5,
a mistake that its published weights were trained with, and a last max pooling of 2x2. "googlenet_paper" is
the paper's; it gives no initialisation, and Caffe's model of it starts from variance 1 / fan-in ("xavier").
"""


class GoogLeNet(nn.Module):
    """The convolutional part of GoogLeNet.

    Submodules: ``conv1``, ``conv2``, ``conv3`` and ``inception3a`` to ``inception5b``, the paper's names.

    Attributes:
      stem_features: channels of the three convolutions in front of the blocks.
      blocks: fields of the :class:`InceptionBlock` of stages 3, 4 and 5.
      kernel_size: of the branch of 5x5 convolutions; 3 for torchvision's weights.
      last_window: size of the max pooling in front of stage 5; the others have 3.
      response_norm: whether local response normalisation follows the first pooling and the third
        convolution (the paper's figure 3).
      norm: makes a normalisation after each convolution from ``dtype`` and ``name``; None leaves it out.
      kernel_init: initialiser of the kernels; torchvision's.
      dtype: dtype of the computation; parameters and statistics stay float32.
    """

    stem_features: tuple[int, int, int] = (64, 64, 192)
    blocks: tuple[tuple[tuple[int, ...], ...], ...] = _BLOCKS
    kernel_size: int = 3
    last_window: int = 2
    response_norm: bool = False
    norm: Callable[..., nn.Module] | None = functools.partial(BatchNorm, epsilon=1e-3)
    kernel_init: Initializer = truncated_normal(stddev=0.01)
    dtype: DTypeLike | None = None

    @property
    def channels(self) -> dict[str, int]:
        """Number of channels of each feature map: ``{"c1": 64, "c2": 192, ..., "c5": 1024}``."""
        # Columns "#1x1", "#3x3", "#5x5" and "pool proj" of each stage's last block.
        widths = [sum(stage[-1][column] for column in (0, 2, 4, 5)) for stage in self.blocks]
        return {"c1": self.stem_features[0], "c2": self.stem_features[2]} | {
            f"c{level}": width for level, width in enumerate(widths, start=3)
        }

    @property
    def strides(self) -> dict[str, int]:
        """Stride of each feature map against the image: ``{"c1": 2, ..., "c5": 32}``."""
        return {f"c{level}": 2**level for level in range(1, 6)}

    def __call__(self, images: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Computes the features of the first and third convolution and of each stage of blocks.

        Args:
          images: ``[N, H, W, C]``, floating, normalised; at least 15 pixels high and wide, for the paper's
            net 31.
          train: whether batch normalisation uses, and updates, the statistics of this batch.

        Returns:
          ``{"c1": [N, H/2, W/2, 64], "c2": [N, H/4, W/4, 192], ..., "c5": [N, H/32, W/32, 1024]}``. The
          first size is rounded up, those of c2 to c4 down from the one before, that of c5 up again (in the
          paper's net, whose last pooling has 3x3 windows, down).

        Raises:
          ValueError: for another shape or dtype, or smaller images.
        """
        outputs = self.block_features(images, train=train)
        taps = ["conv1", "conv3", *(self._names(stage)[-1] for stage in (3, 4, 5))]
        return {f"c{level}": outputs[tap] for level, tap in enumerate(taps, start=1)}

    @nn.compact
    def block_features(self, images: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Computes the output of each layer outside of the blocks and of each block.

        The auxiliary heads stand on blocks that close no stage.

        Args:
          images: as of a call.
          train: as of a call.

        Returns:
          Maps by the paper's names: ``{"conv1": ..., "conv3": ..., "3a": ..., "3b": ..., ..., "5b": ...}``.

        Raises:
          ValueError: as of a call.
        """
        check_layout("images", images, "N H W C", remedy="images are a batch, channels last")
        check_floating(images=images)
        # One pixel of c5: a pooling takes maps one pixel smaller than its window.
        least = 16 * (self.last_window - 1) - 1
        if min(images.shape[1:3]) < least:
            raise ValueError(
                f"images: expected at least {least} pixels high and wide, got {list(images.shape)}; "
                "pad or resize them"
            )
        options: dict[str, Any] = {
            "norm": self.norm,
            "kernel_init": self.kernel_init,
            "dtype": self.dtype,
        }
        conv: Callable[..., nn.Module] = functools.partial(ConvNormAct, **options)
        block: Callable[..., nn.Module] = functools.partial(
            InceptionBlock, kernel_size=self.kernel_size, **options
        )
        first, second, third = self.stem_features
        x = conv(first, 7, 2, 3, name="conv1")(images, train=train)  # [N, H / 2, W / 2, 64]
        outputs = {"conv1": x}
        x = max_pool(x, 3, strides=2, ceil_mode=True)  # [N, H / 4, W / 4, 64]
        x = conv(second, 1, name="conv2")(self._respond(x), train=train)
        x = conv(third, 3, name="conv3")(x, train=train)
        outputs["conv3"] = x
        x = self._respond(x)
        for stage, row in enumerate(self.blocks, start=3):
            window = self.last_window if stage == 5 else 3
            x = max_pool(x, window, strides=2, ceil_mode=True)  # [N, H / 2^stage, W / 2^stage, C]
            for name, widths in zip(self._names(stage), row, strict=True):
                x = outputs[name] = block(*widths, name=f"inception{name}")(x, train=train)
        return outputs

    def _names(self, stage: int) -> list[str]:
        """The paper's names of a stage's blocks: 3a, 3b."""
        return [f"{stage}{chr(ord('a') + index)}" for index in range(len(self.blocks[stage - 3]))]

    def _respond(self, x: jax.Array) -> jax.Array:
        return local_response_norm(x) if self.response_norm else x


class _AuxiliaryHead(nn.Module):
    """A 1x1 convolution ``conv``, a hidden layer ``fc`` and the scores ``head``, on a block in the middle.

    Szegedy et al. 2015, section 5. Maps of any size are averaged to 4x4 regions, as in torchvision; those of
    the paper's 14x14 maps are 4 pixels long, where the paper's windows are 5, 3 apart.
    """

    num_classes: int
    features: int
    hidden: int
    dropout_rate: float
    norm: Callable[..., nn.Module] | None
    kernel_init: Initializer
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        dense = functools.partial(nn.Dense, kernel_init=self.kernel_init, dtype=self.dtype)
        x = adaptive_average_pool(x, 4)  # [N, 4, 4, C]
        conv = ConvNormAct(
            self.features, 1, norm=self.norm, kernel_init=self.kernel_init, dtype=self.dtype, name="conv"
        )
        x = conv(x, train=train)
        x = x.reshape(x.shape[0], 16 * self.features)  # [N, 16 * features]
        x = nn.relu(dense(self.hidden, name="fc")(x))  # [N, hidden]
        x = nn.Dropout(self.dropout_rate)(x, deterministic=not train)
        return dense(self.num_classes, name="head")(x).astype(jnp.float32)  # [N, K]


class GoogLeNetClassifier(nn.Module):
    """Global average pooling, dropout and a linear layer; in training also two auxiliary heads, if asked.

    Submodules: ``backbone``, ``head`` and, with ``aux_heads``, ``aux1_head`` and ``aux2_head``. A call
    returns the main logits alone. With ``aux_heads`` and ``train`` those of the auxiliary heads are written
    to the collection ``"aux_logits"``, if it is mutable: ``logits, updates = model.apply(variables, images,
    train=True, mutable=["batch_stats", "aux_logits"])``, then ``updates["aux_logits"]["aux1"]``. The paper
    adds their losses with weight 0.3.

    Attributes:
      backbone: a :class:`GoogLeNet`.
      num_classes: number of classes K.
      aux_heads: whether the network has the heads on blocks 4a and 4d.
      dropout_rate: share of pooled features dropped in training; the paper has 0.4.
      aux_dropout_rate: that of the auxiliary heads.
      aux_features: channels of their 1x1 convolution.
      aux_hidden: width of their hidden layer.
      dtype: dtype of the computation.

    References:
      Szegedy et al. 2015, section 5 and figure 3. Initialised as the backbone.
    """

    backbone: GoogLeNet
    num_classes: int = 1000
    aux_heads: bool = False
    dropout_rate: float = 0.2
    aux_dropout_rate: float = 0.7
    aux_features: int = 128
    aux_hidden: int = 1024
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Maps images ``[N, H, W, C]`` to logits ``[N, K]``, float32.

        With ``train`` and a dropout rate, a ``"dropout"`` key must be passed in ``rngs``.

        Raises:
          ValueError: as the backbone.
        """
        features = self.backbone.block_features(images, train=train)
        for name, block in (("aux1", "4a"), ("aux2", "4d")):
            # In evaluation nothing reads them; initialisation makes their parameters in either mode.
            if self.aux_heads and (train or self.is_initializing()):
                logits = self._make_head(f"{name}_head")(features[block], train=train)  # [N, K]
                if not self.is_initializing():
                    self.sow("aux_logits", name, logits, reduce_fn=lambda _, new: new)
        x = global_average_pool(features["5b"])  # [N, 1024]
        x = nn.Dropout(self.dropout_rate)(x, deterministic=not train)
        head = nn.Dense(
            self.num_classes, kernel_init=self.backbone.kernel_init, dtype=self.dtype, name="head"
        )
        return head(x).astype(jnp.float32)  # [N, K]

    def _make_head(self, name: str) -> _AuxiliaryHead:
        return _AuxiliaryHead(
            self.num_classes,
            features=self.aux_features,
            hidden=self.aux_hidden,
            dropout_rate=self.aux_dropout_rate,
            norm=self.backbone.norm,
            kernel_init=self.backbone.kernel_init,
            dtype=self.dtype,
            name=name,
        )


def googlenet(variant: str, **overrides: Any) -> GoogLeNet:
    """Builds a GoogLeNet backbone by name.

    Args:
      variant: a key of :data:`GOOGLENET_VARIANTS`.
      **overrides: fields of :class:`GoogLeNet` to set or replace.

    Returns:
      The module, without parameters.

    Raises:
      ValueError: for an unknown variant.

    References:
      Szegedy et al. 2015, *Going Deeper with Convolutions*, table 1 and figure 3.

    >>> googlenet("googlenet").channels
    {'c1': 64, 'c2': 192, 'c3': 480, 'c4': 832, 'c5': 1024}
    """
    fields = find_variant("GoogLeNet variant", variant, GOOGLENET_VARIANTS)
    return GoogLeNet(**{**fields, **overrides})
