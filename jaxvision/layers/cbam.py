"""CBAM: attention over channels, then over pixels (Woo et al. 2018)."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.core import check_floating, check_layout
from jaxvision.layers.conv import Conv
from jaxvision.layers.initializers import Initializer, he_normal_fan_in
from jaxvision.ops import channel_max_pool, global_average_pool, global_max_pool


class ChannelAttention(nn.Module):
    """Scales each channel by a gate that one small network computes from its mean and from its maximum.

    .. math:: M_c(x) = \\sigma(W_1 \\delta(W_0\\, \\mathrm{avg}(x)) + W_1 \\delta(W_0 \\max(x)))

    Submodules: ``reduce_conv``, ``expand_conv``, 1x1 convolutions that both vectors go through.

    Attributes:
      reduction: the paper's r; at least one channel is left between the two.
      use_bias: whether the two have biases: the paper's equation has none, its authors' code has.
      activation: the function delta.
      kernel_init: initialiser of the kernels.
      dtype: dtype of the computation.

    References:
      Woo et al. 2018, *CBAM: Convolutional Block Attention Module*, equation 2.
    """

    reduction: int = 16
    use_bias: bool = False
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    kernel_init: Initializer = he_normal_fan_in
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Reweights images ``[N, H, W, C]``; ``train`` changes nothing.

        Raises:
          ValueError: if ``x`` is not a batch of images, floating, or has no pixels.
        """
        del train
        _check_images(x)
        features = x.shape[-1]
        pooled = jnp.stack([global_average_pool(x), global_max_pool(x)], axis=1)[:, :, None]  # [N, 2, 1, C]
        hidden = self._conv(max(1, features // self.reduction), "reduce_conv")(pooled)  # [N, 2, 1, C / r]
        scores = self._conv(features, "expand_conv")(self.activation(hidden))  # [N, 2, 1, C]
        gate = nn.sigmoid(scores.sum(1, keepdims=True))  # [N, 1, 1, C]
        return x.astype(gate.dtype) * gate

    def _conv(self, features: int, name: str) -> Conv:
        return Conv(
            features,
            1,
            use_bias=self.use_bias,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
            name=name,
        )


class SpatialAttention(nn.Module):
    """Scales each pixel by a gate that a convolution computes from the mean and maximum of its channels.

    .. math:: M_s(x) = \\sigma(f^{7 \\times 7}([\\mathrm{avg}(x); \\max(x)]))

    Submodules: ``conv``, whose two input channels are the mean and the maximum; ``norm`` if there is one.

    Attributes:
      kernel_size: of the convolution, odd.
      norm: makes a normalisation of the scores from ``dtype`` and ``name``; None leaves it out: the paper's
        equation has none, its authors' code has a ``BatchNorm``.
      kernel_init: initialiser of the kernel.
      dtype: dtype of the computation.

    References:
      Woo et al. 2018, *CBAM: Convolutional Block Attention Module*, equation 3. The authors' code has the
      maximum first: swap the two input channels of its kernel.
    """

    kernel_size: int = 7
    norm: Callable[..., nn.Module] | None = None
    kernel_init: Initializer = he_normal_fan_in
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Reweights images ``[N, H, W, C]``; ``train`` reaches the normalisation.

        Raises:
          ValueError: if ``x`` is not a batch of images, floating, or ``kernel_size`` is even.
        """
        _check_images(x)
        if self.kernel_size % 2 == 0:
            raise ValueError(
                f"kernel_size: expected an odd number, got {self.kernel_size}; take one more or less"
            )
        wide = jnp.promote_types(x.dtype, jnp.float32)
        mean = x.mean(-1, keepdims=True, dtype=wide).astype(x.dtype)
        highest = channel_max_pool(x, x.shape[-1])
        scores = jnp.concatenate([mean, highest], axis=-1)  # [N, H, W, 2]
        scores = Conv(
            1,
            self.kernel_size,
            padding=self.kernel_size // 2,
            use_bias=False,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
            name="conv",
        )(scores)  # [N, H, W, 1]
        if self.norm is not None:
            scores = self.norm(dtype=self.dtype, name="norm")(scores, train=train)
        gate = nn.sigmoid(scores)
        return x.astype(gate.dtype) * gate


class CBAM(nn.Module):
    """Channel attention, then spatial attention, as a layer for the end of any block.

    Submodules: ``channel`` (:class:`ChannelAttention`), ``spatial`` (:class:`SpatialAttention`). Inside a
    residual block: ``BasicBlock(64, attention=CBAM)``.

    Attributes:
      reduction: the paper's r of the channel attention.
      kernel_size: of the spatial attention's convolution, odd.
      use_bias: as :class:`ChannelAttention`.
      norm: as :class:`SpatialAttention`.
      activation: between the channel attention's two convolutions.
      kernel_init: initialiser of the kernels.
      dtype: dtype of the computation.

    References:
      Woo et al. 2018, *CBAM: Convolutional Block Attention Module*, equation 1; the arrangement in sequence
      with the channels first is the best of table 3.
    """

    reduction: int = 16
    kernel_size: int = 7
    use_bias: bool = False
    norm: Callable[..., nn.Module] | None = None
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    kernel_init: Initializer = he_normal_fan_in
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Reweights images ``[N, H, W, C]``.

        Raises:
          ValueError: if ``x`` is not a batch of images, floating, or ``kernel_size`` is even.
        """
        x = ChannelAttention(
            self.reduction, self.use_bias, self.activation, self.kernel_init, self.dtype, name="channel"
        )(x, train=train)
        return SpatialAttention(self.kernel_size, self.norm, self.kernel_init, self.dtype, name="spatial")(
            x, train=train
        )


def _check_images(x: jax.Array) -> None:
    check_layout("x", x, "N H W C", remedy="images are [N, H, W, C]")
    check_floating(x=x)
