"""Elman's network and GRU over sequences, with PyTorch's formulas and gate order.

Arrays are ``[N, T, C]``, the state is that of one layer and one direction. The projections of all inputs are
one product in front of the scan, and so are the gradients of both kernels behind it
(:mod:`jaxvision.ops.recurrence`). Products are in the dtype of ``x``; gates and states in float32 at least.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxvision.core import check_floating, check_layout
from jaxvision.ops.recurrence import DENSE, Multiply, State, Stream, multiply_dense, recur
from jaxvision.ops.sequences import check_operand, first_state, over_time


class RecurrentParams(NamedTuple):
    """Parameters of :func:`rnn` (``G = 1``) and :func:`gru` (``G = 3``: reset, update, new).

    Attributes:
      input_kernel: ``[C, G H]``, gates side by side: torch's ``weight_ih``, transposed.
      recurrent_kernel: ``[H, G H]``: torch's ``weight_hh``, transposed.
      input_bias: ``[G H]`` or None: torch's ``bias_ih``.
      recurrent_bias: ``[G H]`` or None: torch's ``bias_hh``. Only in the new gate of a GRU is it more than a
        second summand of the same bias; there are two so that weights go both ways as they are.
    """

    input_kernel: jax.Array
    recurrent_kernel: jax.Array
    input_bias: jax.Array | None = None
    recurrent_bias: jax.Array | None = None


def rnn(
    params: RecurrentParams,
    x: jax.Array,
    state: jax.Array | None,
    *,
    activation: Literal["tanh", "relu"] = "tanh",
    where: jax.Array | None = None,
    reverse: bool = False,
    recurrent_mask: jax.Array | None = None,
    remat_chunk: int | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Elman's recurrent network, one layer of ``torch.nn.RNN`` in one direction.

    .. math:: h_t = \\phi(x_t W_x + b_x + h_{t-1} W_h + b_h)

    Args:
      params: kernels ``[C, H]`` and ``[H, H]`` and biases ``[H]``.
      x: ``[N, T, C]``, floating, of the dtype of the kernels.
      state: ``[N, H]``, the first ``h``; None for zeros.
      activation: ``phi``.
      where: bool ``[N, T]``, true where there is a step, usually a prefix of each row. Elsewhere the state
        stays as it is and the output is zero, whatever ``x`` is there: the last state is that of each
        sequence's own end, and in reverse each sequence begins at its own end.
      reverse: whether to go from the last step to the first; outputs stay at the places of their inputs.
      recurrent_mask: ``[N, H]``, multiplies ``h`` before each product: dropout with one mask a sequence.
      remat_chunk: compute so many steps at a time again for the gradient: of the forward pass only the
        outputs and the states between chunks are kept. None keeps what every step computed.

    Returns:
      Outputs ``[N, T, H]`` in the dtype of ``x``, and the last state ``[N, H]``. Without any step (``T`` of
      0, or ``where`` all false) the last state is the first.

    Raises:
      ValueError: if shapes do not fit, dtypes differ, or ``activation`` is neither of the two.

    References:
      Elman 1990, *Finding Structure in Time*. Gal and Ghahramani 2016, *A Theoretically Grounded Application
      of Dropout in Recurrent Neural Networks*, equation 7, for ``recurrent_mask``.

    >>> one = jnp.ones((1, 1))
    >>> y, last = rnn(RecurrentParams(one, one), jnp.ones((1, 3, 1)), None, activation="relu")
    >>> y[0, :, 0]
    Array([1., 2., 3.], dtype=float32)
    """
    if activation not in ("tanh", "relu"):
        raise ValueError(f"activation: expected 'tanh' or 'relu', got {activation!r}")
    shape = (x.shape[0], check_kernels(params, x, gates=1))
    check_operand("recurrent_mask", recurrent_mask, shape)
    first = (first_state("state", state, shape, x),)
    cell = _tanh_cell if activation == "tanh" else _relu_cell

    def body(state: State, x: jax.Array, where: jax.Array | None) -> tuple[jax.Array, State]:
        inputs = Stream(multiply_dense(x, params.input_kernel), sum_biases(params))
        kernels = (params.recurrent_kernel,)
        return recur(cell, DENSE, reverse, kernels, (inputs,), Stream(), recurrent_mask, state, where)

    outputs, (hidden,) = over_time(body, first, x, where, chunk=remat_chunk, reverse=reverse)
    return outputs, hidden


def gru(
    params: RecurrentParams,
    x: jax.Array,
    state: jax.Array | None,
    *,
    reset_after: bool = True,
    where: jax.Array | None = None,
    reverse: bool = False,
    recurrent_mask: jax.Array | None = None,
    remat_chunk: int | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Gated recurrent unit, one layer of ``torch.nn.GRU`` in one direction.

    .. math::
      r &= \\sigma(x W_{xr} + b_{xr} + h W_{hr} + b_{hr}) \\\\
      z &= \\sigma(x W_{xz} + b_{xz} + h W_{hz} + b_{hz}) \\\\
      n &= \\tanh(x W_{xn} + b_{xn} + r (h W_{hn} + b_{hn})) \\\\
      h' &= (1 - z) n + z h

    Args:
      params: kernels ``[C, 3 H]`` and ``[H, 3 H]`` and biases ``[3 H]``.
      x: as :func:`rnn`.
      state: as :func:`rnn`.
      reset_after: whether the reset gate acts on the product of the hidden state, as in PyTorch and cuDNN, or
        on the hidden state itself, ``n = tanh(x W + b + (r h) W + b)``, as in the paper.
      where: as :func:`rnn`.
      reverse: as :func:`rnn`.
      recurrent_mask: as :func:`rnn`; it acts on the products, not on the ``z h`` of the last line.
      remat_chunk: as :func:`rnn`.

    Returns:
      As :func:`rnn`.

    Raises:
      ValueError: if shapes do not fit or dtypes differ.

    References:
      Cho et al. 2014, *Learning Phrase Representations using RNN Encoder-Decoder*, equations 5 to 8: the
      hidden state is reset in its published version, the product in the first version of the preprint
      (arXiv:1406.1078v1), which cuDNN took up.

    >>> zeros = RecurrentParams(jnp.zeros((1, 3)), jnp.zeros((1, 3)))
    >>> gru(zeros, jnp.ones((1, 2, 1)), jnp.ones((1, 1)))[0][0, :, 0]
    Array([0.5 , 0.25], dtype=float32)
    """
    shape = (x.shape[0], check_kernels(params, x, gates=3))
    check_operand("recurrent_mask", recurrent_mask, shape)
    first = (first_state("state", state, shape, x),)
    layer = _gru_after if reset_after else _gru_before

    def body(state: State, x: jax.Array, where: jax.Array | None) -> tuple[jax.Array, State]:
        return layer(params, recurrent_mask, reverse, state, x, where)

    outputs, (hidden,) = over_time(body, first, x, where, chunk=remat_chunk, reverse=reverse)
    return outputs, hidden


def _gru_after(
    params: RecurrentParams,
    recurrent_mask: jax.Array | None,
    reverse: bool,
    state: State,
    x: jax.Array,
    where: jax.Array | None,
) -> tuple[jax.Array, State]:
    inputs = Stream(multiply_dense(x, params.input_kernel), params.input_bias)
    injections = (Stream(bias=params.recurrent_bias),)
    kernels = (params.recurrent_kernel,)
    return recur(_gru_after_cell, DENSE, reverse, kernels, injections, inputs, recurrent_mask, state, where)


def _gru_before(
    params: RecurrentParams,
    recurrent_mask: jax.Array | None,
    reverse: bool,
    state: State,
    x: jax.Array,
    where: jax.Array | None,
) -> tuple[jax.Array, State]:
    gates, bias = 2 * state[0].shape[-1], sum_biases(params)
    parts = (slice(None, gates), slice(gates, None))
    injections = tuple(
        Stream(multiply_dense(x, params.input_kernel[:, part]), None if bias is None else bias[part])
        for part in parts
    )
    kernels = tuple(params.recurrent_kernel[:, part] for part in parts)
    cell = _gru_before_cell
    return recur(cell, DENSE, reverse, kernels, injections, Stream(), recurrent_mask, state, where)


def _tanh_cell(multiply: Multiply, state: State, inputs: Any, mask: jax.Array | None) -> State:
    return (jnp.tanh(multiply(0, masked(state[0], mask))),)


def _relu_cell(multiply: Multiply, state: State, inputs: Any, mask: jax.Array | None) -> State:
    return (jax.nn.relu(multiply(0, masked(state[0], mask))),)


def _gru_after_cell(multiply: Multiply, state: State, inputs: Any, mask: jax.Array | None) -> State:
    (hidden,) = state
    reset, update, new = jnp.split(multiply(0, masked(hidden, mask)), 3, -1)
    reset_input, update_input, new_input = jnp.split(inputs, 3, -1)
    new = jnp.tanh(new_input + jax.nn.sigmoid(reset_input + reset) * new)
    return (new + jax.nn.sigmoid(update_input + update) * (hidden - new),)


def _gru_before_cell(multiply: Multiply, state: State, inputs: Any, mask: jax.Array | None) -> State:
    (hidden,) = state
    seen = masked(hidden, mask)
    reset, update = jnp.split(jax.nn.sigmoid(multiply(0, seen)), 2, -1)
    new = jnp.tanh(multiply(1, reset * seen))
    return (new + update * (hidden - new),)


def sum_biases(params: Any) -> jax.Array | None:
    """The sum of ``input_bias`` and ``recurrent_bias``, of which either may be None."""
    biases = [bias for bias in (params.input_bias, params.recurrent_bias) if bias is not None]
    return sum(biases[1:], biases[0]) if biases else None


def masked(hidden: jax.Array, mask: jax.Array | None) -> jax.Array:
    """The hidden state times the mask of a dropout, if there is one."""
    return hidden if mask is None else hidden * mask.astype(hidden.dtype)


def check_kernels(params: Any, x: jax.Array, *, gates: int, out: int | None = None) -> int:
    """Checks the input, kernels and biases of a recurrent layer.

    Args:
      params: with ``input_kernel``, ``recurrent_kernel`` and two biases.
      x: ``[N, T, C]``.
      gates: ``G``.
      out: rows of the recurrent kernel; by default the width.

    Returns:
      The width ``H``.

    Raises:
      ValueError: if shapes do not fit, or dtypes of ``x`` and kernels differ.
    """
    check_layout("x", x, "N T C", remedy="add a batch axis or flatten the last ones")
    kernels = {name: getattr(params, name) for name in ("input_kernel", "recurrent_kernel")}
    check_floating(x=x, **kernels)
    columns = params.input_kernel.shape[-1]
    width = columns // gates
    rows = {"input_kernel": x.shape[-1], "recurrent_kernel": width if out is None else out}
    for name, kernel in kernels.items():
        if columns % gates or kernel.shape != (rows[name], columns):
            many = f"{gates} gates of " if gates > 1 else ""
            raise ValueError(
                f"{name}: expected [{rows[name]}, {gates * width}], {many}{width} units side by side, for x "
                f"{list(x.shape)}, got {list(kernel.shape)}"
            )
        if kernel.dtype != x.dtype:
            raise ValueError(f"{name}: expected the dtype of x ({x.dtype}), got {kernel.dtype}; cast one")
    check_operand("input_bias", params.input_bias, (columns,))
    check_operand("recurrent_bias", params.recurrent_bias, (columns,))
    return width
