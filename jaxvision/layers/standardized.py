"""Convolution whose kernel is standardised, for networks that do not normalise activations."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax.typing import DTypeLike

from jaxvision.layers.conv import add_bias, kernel_window
from jaxvision.layers.initializers import Initializer, he_normal_fan_in
from jaxvision.ops.convolution import convolution
from jaxvision.ops.normalization import weight_standardize
from jaxvision.ops.windows import Padding, Size


class StandardizedConv(nn.Module):
    """Convolution by a kernel of zero mean and fixed variance for each output channel.

    .. math:: \\hat W_o = \\frac{\\gamma g_o}{\\sqrt n} \\frac{W_o - E[W_o]}{\\sqrt{Var[W_o] + \\epsilon}}

    The scaled form, of NFNets, as timm's ``ScaledStdConv2d``: ``n`` is the number of inputs of an output,
    ``g`` is learned. The plain form, of Qiao et al. and of BiT, as timm's ``StdConv2d``, has unit variance:
    no ``g``, no ``n`` and no ``gamma``.

    Parameters, float32: ``kernel`` ``[kh, kw, Cin / groups, features]``, ``bias`` ``[features]`` and, in the
    scaled form, ``gain`` ``[features]`` (timm's is ``[features, 1, 1, 1]``).

    Attributes:
      features: number of output channels.
      kernel_size: a number for an image, or one an axis, as :class:`Conv`.
      strides: step of the window.
      padding: zeros around the image, as :class:`Conv`.
      dilation: distance of neighbouring kernel taps.
      groups: number of independent groups of channels.
      scaled: the scaled form, or the plain one.
      activation_gain: ``gamma``, one over the standard deviation of the activation of a standard normal
        variable, so that variances stay 1: 1.7139588594436646 for ReLU. Networks that multiply the
        activation by it leave this at 1.
      use_bias: whether to add a bias.
      kernel_init: initialiser of the kernel.
      bias_init: initialiser of the bias.
      gain_init: initialiser of ``g``; zeros make a residual block start as its shortcut.
      epsilon: added to the biased variance.
      dtype: dtype of the computation; the kernel is standardised in float32.

    References:
      Brock et al. 2021, *Characterizing signal propagation to close the performance gap in unnormalized
      ResNets*, section 4.1, equation 3, whose code bounds the variance from below instead of adding epsilon
      (:func:`jaxvision.ops.scaled_weight_standardize`). Qiao et al. 2019, *Micro-Batch Training with
      Batch-Channel Normalization and Weight Standardization*, equation 11.
    """

    features: int
    kernel_size: Size
    strides: Size = 1
    padding: Padding = 0
    dilation: Size = 1
    groups: int = 1
    scaled: bool = True
    activation_gain: float = 1.0
    use_bias: bool = True
    kernel_init: Initializer = he_normal_fan_in
    bias_init: Initializer = nn.initializers.zeros_init()
    gain_init: Initializer = nn.initializers.ones_init()
    epsilon: float = 1e-6
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Convolves ``[N, H, W, Cin]`` to ``[N, H', W', features]``; ``[N, T, Cin]`` and video likewise.

        Raises:
          ValueError: as :func:`jaxvision.ops.convolution`.
        """
        window = kernel_window(x, self.kernel_size, self.features, self.groups)
        shape = (*window, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        bias = self.param("bias", self.bias_init, (self.features,), jnp.float32) if self.use_bias else None
        kernel = weight_standardize(kernel, epsilon=self.epsilon)
        if self.scaled:
            gain = self.param("gain", self.gain_init, (self.features,), jnp.float32)
            factor = self.activation_gain / math.sqrt(math.prod(shape[:-1]))
            kernel *= jnp.broadcast_to(factor * gain, shape)
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = convolution(
            x,
            kernel,
            strides=self.strides,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )
        return add_bias(y, bias)
