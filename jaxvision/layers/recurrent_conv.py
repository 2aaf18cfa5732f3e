"""Convolutional LSTM over video."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax.typing import DTypeLike

from jaxvision.core import check_layout
from jaxvision.layers.initializers import Initializer, orthogonal, xavier_uniform
from jaxvision.layers.recurrent_initializers import gate_initializer
from jaxvision.ops.recurrent_conv import ConvLSTMParams, conv_lstm
from jaxvision.ops.recurrent_lstm import LSTMState
from jaxvision.ops.windows import Size, as_sizes


class ConvLSTM(nn.Module):
    """One layer of convolutional LSTM; see :func:`jaxvision.ops.conv_lstm`.

    Parameters, float32, four gates side by side (input, forget, cell, output): ``input_kernel``
    ``[kh, kw, C, 4 features]``, ``recurrent_kernel`` ``[kh, kw, features, 4 features]``, ``bias``
    ``[4 features]`` and, with peepholes, ``peepholes`` ``[3, H, W, features]``, which tie the layer to images
    of one size.

    Attributes:
      features: number of channels of the states and outputs.
      kernel_size: of both convolutions, odd: a number or ``(height, width)``.
      peephole: whether the gates see the cell state, as in the paper; peepholes start as zeros.
      use_bias: whether there is a bias.
      kernel_init: initialiser of the input kernel of each gate.
      recurrent_init: initialiser of the recurrent kernel of each gate.
      forget_bias: bias of the forget gate at the start; the others are zero. The paper names none of this:
        initialisers and bias are Keras'.
      remat_chunk: frames that are computed again at a time for the gradient.
      dtype: dtype of convolutions and outputs; states and gates are float32.

    References:
      Shi et al. 2015, *Convolutional LSTM Network*, section 3.1.
    """

    features: int
    kernel_size: Size
    peephole: bool = False
    use_bias: bool = True
    kernel_init: Initializer = xavier_uniform()
    recurrent_init: Initializer = orthogonal()
    forget_bias: float = 1.0
    remat_chunk: int | None = None
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        *,
        state: LSTMState | None = None,
        where: jax.Array | None = None,
        reverse: bool = False,
    ) -> tuple[jax.Array, LSTMState]:
        """Maps video ``[N, T, H, W, C]`` to ``[N, T, H, W, features]`` and the last state.

        Args:
          x: video, floating.
          state: first state, ``[N, H, W, features]`` each; None for zeros.
          where: bool ``[N, T]``, true where there is a frame.
          reverse: whether to go from the last frame to the first.

        Returns:
          Outputs, zero where there is no frame, and the last state.

        Raises:
          ValueError: as :func:`jaxvision.ops.conv_lstm`.
        """
        check_layout("x", x, "N T H W C", remedy="one frame a step; sequences [N, T, C] have LSTM")
        window = as_sizes("kernel_size", self.kernel_size)
        columns = 4 * self.features

        def kernel(name: str, init: Initializer, channels: int) -> jax.Array:
            shape = (*window, channels, columns)
            return self.param(name, gate_initializer(init, num_gates=4), shape, jnp.float32)

        kernels = [
            kernel("input_kernel", self.kernel_init, x.shape[-1]),
            kernel("recurrent_kernel", self.recurrent_init, self.features),
        ]
        bias = peepholes = None
        if self.use_bias:
            init = gate_initializer(
                nn.initializers.zeros_init(), num_gates=4, constants={1: self.forget_bias}
            )
            bias = self.param("bias", init, (columns,), jnp.float32)
        if self.peephole:
            shape = (3, *x.shape[2:4], self.features)
            peepholes = self.param("peepholes", nn.initializers.zeros_init(), shape, jnp.float32)
        x, *kernels = promote_dtype(x, *kernels, dtype=self.dtype)
        return conv_lstm(
            ConvLSTMParams(kernels[0], kernels[1], bias, peepholes),
            x,
            state,
            where=where,
            reverse=reverse,
            remat_chunk=self.remat_chunk,
        )
