"""Squeeze-and-excitation: channels reweighted by what they hold on average."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.layers.conv import Conv
from jaxvision.layers.initializers import Initializer, he_normal_fan_in
from jaxvision.ops import global_average_pool


class SqueezeExcitation(nn.Module):
    """Scales each channel by a gate that a small network computes from the means of all channels.

    .. math:: y_c = x_c \\cdot \\sigma(W_2\\, \\delta(W_1\\, \\bar x))_c, \\qquad
        \\bar x_c = \\frac{1}{HW} \\sum_{i,j} x_{i,j,c}

    Submodules: ``reduce_conv`` and ``expand_conv``, 1x1 convolutions with biases (``fc1`` and ``fc2`` of
    ``torchvision.ops.SqueezeExcitation``).

    Attributes:
      squeeze_features: number of channels between the two; None is the input's divided by ``reduction``.
      reduction: the paper's r; at least one channel is left.
      divisor: the quotient is rounded to a multiple of it, one at least. timm's SE-ResNets have 8, which
        matters where there are 64 channels.
      activation: the function delta: ``nn.relu``, or ``nn.silu`` in EfficientNet.
      gate: the function sigma: ``nn.sigmoid``, or ``nn.hard_sigmoid`` in MobileNetV3.
      kernel_init: initialiser of the kernels.
      dtype: dtype of the computation.

    References:
      Hu et al. 2018, *Squeeze-and-Excitation Networks*, equations 2 to 4; the biases, which its equations do
      not have, are those of the published weights. Howard et al. 2019, *Searching for MobileNetV3*, sections
      5.2 and 5.3; Tan and Le 2019, *EfficientNet*, section 4.

    >>> layer = SqueezeExcitation(reduction=4)
    >>> y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((1, 2, 2, 8)), train=False)
    >>> y.shape, variables["params"]["reduce_conv"]["kernel"].shape
    ((1, 2, 2, 8), (1, 1, 8, 2))
    """

    squeeze_features: int | None = None
    reduction: int = 16
    divisor: int = 1
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    gate: Callable[[jax.Array], jax.Array] = nn.sigmoid
    kernel_init: Initializer = he_normal_fan_in
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Reweights ``[N, ..., C]``: sequences, images or video; ``train`` changes nothing.

        Raises:
          ValueError: if ``x`` is none of these, or not floating.
        """
        del train
        features = x.shape[-1]
        squeezed = self.squeeze_features
        if squeezed is None:
            halfway = features // self.reduction + self.divisor // 2
            squeezed = max(self.divisor, halfway // self.divisor * self.divisor)
        gate = global_average_pool(x)[:, None, None]  # [N, 1, 1, C]
        gate = self.activation(self._conv(squeezed, "reduce_conv")(gate))  # [N, 1, 1, squeezed]
        gate = self.gate(self._conv(features, "expand_conv")(gate))  # [N, 1, 1, C]
        gate = jnp.expand_dims(gate[:, 0, 0], tuple(range(1, x.ndim - 1)))  # [N, 1, ..., C]
        return x.astype(gate.dtype) * gate

    def _conv(self, features: int, name: str) -> Conv:
        return Conv(features, 1, kernel_init=self.kernel_init, dtype=self.dtype, name=name)


class ConcurrentSqueezeExcitation(nn.Module):
    """Concurrent spatial and channel squeeze-and-excitation, scSE: the sum of two reweighted copies.

    One copy's channels are scaled as by :class:`SqueezeExcitation`, the other's pixels by a gate that a 1x1
    convolution computes from the pixel's channels.

    .. math:: y = \\mathrm{SE}(x) + x \\cdot \\sigma(w \\cdot x_{i,j} + b)

    Submodules: ``channel`` (a :class:`SqueezeExcitation`) and ``spatial_conv``.

    Attributes:
      reduction: of the channels' gate; at least one channel is left.
      kernel_init: initialiser of the kernels.
      dtype: dtype of the computation.

    References:
      Roy, Navab and Wachinger 2018, *Concurrent Spatial and Channel Squeeze & Excitation in Fully
      Convolutional Networks*, section 2 (their reduction is 2). As in segmentation_models.pytorch the
      default reduction is 16 and the 1x1 convolution has a bias.

    >>> layer = ConcurrentSqueezeExcitation(reduction=4)
    >>> y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((1, 2, 2, 8)), train=False)
    >>> y.shape, variables["params"]["spatial_conv"]["kernel"].shape
    ((1, 2, 2, 8), (1, 1, 8, 1))
    """

    reduction: int = 16
    kernel_init: Initializer = he_normal_fan_in
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Reweights images ``[N, H, W, C]``; ``train`` changes nothing.

        Raises:
          ValueError: if ``x`` is not a batch of images, or not floating.
        """
        init, dtype = self.kernel_init, self.dtype
        squeeze = SqueezeExcitation(reduction=self.reduction, kernel_init=init, dtype=dtype, name="channel")
        gate = nn.sigmoid(Conv(1, 1, kernel_init=init, dtype=dtype, name="spatial_conv")(x))  # [N, H, W, 1]
        return squeeze(x, train=train) + x.astype(gate.dtype) * gate
