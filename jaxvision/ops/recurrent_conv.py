"""Long short-term memory over video: the products of an LSTM are convolutions, its states feature maps."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxvision.core import check_floating, check_layout
from jaxvision.ops.convolution import convolution
from jaxvision.ops.recurrence import Product, State, Stream, recur
from jaxvision.ops.recurrent_lstm import LSTMConstants, LSTMState, lstm_cell
from jaxvision.ops.sequences import check_operand, first_state, over_time


class ConvLSTMParams(NamedTuple):
    """Parameters of :func:`conv_lstm`. Gates are side by side: input, forget, cell, output.

    Attributes:
      input_kernel: ``[kh, kw, C, 4 F]``, odd sizes.
      recurrent_kernel: ``[kh, kw, F, 4 F]``, odd sizes, not necessarily those of the input's.
      bias: ``[4 F]`` or None.
      peepholes: ``[3, H, W, F]`` or None: what the input, forget and output gate see of the cell state at
        each place of an image.
    """

    input_kernel: jax.Array
    recurrent_kernel: jax.Array
    bias: jax.Array | None = None
    peepholes: jax.Array | None = None


def conv_lstm(
    params: ConvLSTMParams,
    x: jax.Array,
    state: LSTMState | None,
    *,
    where: jax.Array | None = None,
    reverse: bool = False,
    remat_chunk: int | None = None,
) -> tuple[jax.Array, LSTMState]:
    """Convolutional LSTM: :func:`jaxvision.ops.lstm` with convolutions in place of products.

    .. math::
      i, f, o &= \\sigma(x * W_x + h * W_h + p \\circ c + b) \\\\
      g &= \\tanh(x * W_x + h * W_h + b) \\\\
      c' &= f \\circ c + i \\circ g, \\qquad h' = o \\circ \\tanh(c')

    The output gate sees the new cell state. Images are padded with zeros to keep their size; so is the hidden
    state: what lies outside of an image is unknown, as the first state is.

    Args:
      params: kernels, bias and peepholes.
      x: video ``[N, T, H, W, C]``, floating, of the dtype of the kernels.
      state: first state, ``[N, H, W, F]`` each; None for zeros.
      where: bool ``[N, T]``, true where there is a frame; as :func:`jaxvision.ops.lstm`.
      reverse: whether to go from the last frame to the first.
      remat_chunk: compute so many frames at a time again for the gradient, as :func:`jaxvision.ops.lstm`.

    Returns:
      Outputs ``[N, T, H, W, F]`` in the dtype of ``x``, and the last state.

    Raises:
      ValueError: if shapes do not fit, dtypes differ, or a kernel has an even size.

    References:
      Shi et al. 2015, *Convolutional LSTM Network: A Machine Learning Approach for Precipitation Nowcasting*,
      equation 3.

    >>> params = ConvLSTMParams(jnp.zeros((3, 3, 1, 8)), jnp.zeros((3, 3, 2, 8)))
    >>> outputs, last = conv_lstm(params, jnp.ones((1, 4, 5, 5, 1)), None)
    >>> outputs.shape, last.cell.shape
    ((1, 4, 5, 5, 2), (1, 5, 5, 2))
    """
    features = _check_params(params, x)
    shape = (x.shape[0], *x.shape[2:4], features)
    hidden, cell = (None, None) if state is None else state
    first = first_state("state.hidden", hidden, shape, x), first_state("state.cell", cell, shape, x)
    constants = LSTMConstants(params.peepholes)
    convolve = functools.partial(_convolve, padding=_half(params.recurrent_kernel))
    product = Product(convolve, lambda kernel: kernel, convolve)

    def body(state: State, x: jax.Array, where: jax.Array | None) -> tuple[jax.Array, State]:
        frames = x.reshape(-1, *x.shape[2:])  # [T N, H, W, C]
        inputs = _convolve(frames, params.input_kernel, padding=_half(params.input_kernel))
        inputs = inputs.reshape(*x.shape[:2], *inputs.shape[1:])
        injections, kernels = (Stream(inputs, params.bias),), (params.recurrent_kernel,)
        return recur(lstm_cell, product, reverse, kernels, injections, Stream(), constants, state, where)

    outputs, last = over_time(body, first, x, where, chunk=remat_chunk, reverse=reverse)
    return outputs, LSTMState(*last)


def _convolve(x: jax.Array, kernel: jax.Array, *, padding: tuple[int, int]) -> jax.Array:
    """Convolution in the kernel's dtype, its result in float32 at least."""
    y = convolution(x.astype(kernel.dtype), kernel, padding=padding)
    return y.astype(jnp.promote_types(kernel.dtype, jnp.float32))


def _half(kernel: jax.Array) -> tuple[int, int]:
    """The padding that keeps the size of an image."""
    return kernel.shape[0] // 2, kernel.shape[1] // 2


def _check_params(params: ConvLSTMParams, x: jax.Array) -> int:
    """Checks the parameters; returns the number of features ``F``."""
    check_layout("x", x, "N T H W C", remedy="one frame a step; sequences [N, T, C] have lstm")
    check_floating(x=x)
    columns = params.input_kernel.shape[-1]
    features = columns // 4
    for name, channels in (("input_kernel", x.shape[-1]), ("recurrent_kernel", features)):
        kernel = getattr(params, name)
        fits = kernel.ndim == 4 and kernel.shape[2:] == (channels, 4 * features) == (channels, columns)
        if not fits or kernel.shape[0] % 2 == 0 or kernel.shape[1] % 2 == 0:
            raise ValueError(
                f"{name}: expected [kh, kw, {channels}, {4 * features}] with odd kh and kw, for x "
                f"{list(x.shape)}, got {list(kernel.shape)}"
            )
        if kernel.dtype != x.dtype:
            raise ValueError(f"{name}: expected the dtype of x ({x.dtype}), got {kernel.dtype}; cast one")
    check_operand("bias", params.bias, (columns,))
    check_operand("peepholes", params.peepholes, (3, *x.shape[2:4], features))
    return features
