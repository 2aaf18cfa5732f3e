"""Long short-term memory over sequences, with PyTorch's formulas and gate order, and its usual variants."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxvision.core import check_layout
from jaxvision.ops.normalization import layer_norm
from jaxvision.ops.recurrence import DENSE, Multiply, State, Stream, multiply_dense, recur
from jaxvision.ops.recurrent import check_kernels, masked, sum_biases
from jaxvision.ops.sequences import check_operand, first_state, over_time


class LSTMNorms(NamedTuple):
    """Parameters of the three normalisations of a layer-normalised LSTM.

    Attributes:
      input_scale: ``[4 H]``, of the projected input.
      input_bias: ``[4 H]``.
      recurrent_scale: ``[4 H]``, of the product of the hidden state.
      recurrent_bias: ``[4 H]``.
      cell_scale: ``[H]``, of the cell state on its way out.
      cell_bias: ``[H]``.
    """

    input_scale: jax.Array
    input_bias: jax.Array
    recurrent_scale: jax.Array
    recurrent_bias: jax.Array
    cell_scale: jax.Array
    cell_bias: jax.Array


class LSTMParams(NamedTuple):
    """Parameters of :func:`lstm`. Gates side by side: input, forget, cell, output. ``P`` is at most ``H``.

    Attributes:
      input_kernel: ``[C, 4 H]``: torch's ``weight_ih``, transposed.
      recurrent_kernel: ``[P, 4 H]``: torch's ``weight_hh``, transposed.
      input_bias: ``[4 H]`` or None: torch's ``bias_ih``.
      recurrent_bias: ``[4 H]`` or None: torch's ``bias_hh``, a second summand of the same bias.
      projection_kernel: ``[H, P]`` or None: torch's ``weight_hr``, transposed.
      peepholes: ``[3, H]`` or None: what the input, forget and output gate see of the cell state.
      norms: of the two products and the cell state, or None; with norms there are no other biases.
    """

    input_kernel: jax.Array
    recurrent_kernel: jax.Array
    input_bias: jax.Array | None = None
    recurrent_bias: jax.Array | None = None
    projection_kernel: jax.Array | None = None
    peepholes: jax.Array | None = None
    norms: LSTMNorms | None = None


class LSTMState(NamedTuple):
    """State of an LSTM, float32 at least.

    Attributes:
      hidden: ``[N, P]``, the last output: torch's ``h_n`` of one layer and direction.
      cell: ``[N, H]``: torch's ``c_n``.
    """

    hidden: jax.Array
    cell: jax.Array


class LSTMConstants(NamedTuple):
    """What the cell of an LSTM sees at every step; each may be None."""

    peepholes: jax.Array | None = None
    norms: LSTMNorms | None = None
    recurrent_mask: jax.Array | None = None


def lstm(
    params: LSTMParams,
    x: jax.Array,
    state: LSTMState | None,
    *,
    where: jax.Array | None = None,
    reverse: bool = False,
    recurrent_mask: jax.Array | None = None,
    remat_chunk: int | None = None,
) -> tuple[jax.Array, LSTMState]:
    """Long short-term memory, one layer of ``torch.nn.LSTM`` in one direction, and its usual variants.

    .. math::
      i, f, o &= \\sigma(x W_x + b_x + h W_h + b_h + p \\, c) \\\\
      g &= \\tanh(x W_x + b_x + h W_h + b_h) \\\\
      c' &= f c + i g \\\\
      h' &= (o \\tanh(c')) \\, W_p

    Without peepholes ``p`` is 0, without a projection ``W_p`` is the identity. The output gate sees the new
    cell state. With norms, each of ``x W_x``, ``h W_h`` and the ``c'`` inside of the last line is normalised
    over its channels, the four gates together.

    Args:
      params: kernels, biases and what variants need.
      x: as :func:`rnn`.
      state: first state; None for zeros.
      where: as :func:`rnn`.
      reverse: as :func:`rnn`.
      recurrent_mask: ``[N, P]``, as :func:`rnn`.
      remat_chunk: as :func:`rnn`.

    Returns:
      Outputs ``[N, T, P]`` in the dtype of ``x``, and the last state.

    Raises:
      ValueError: if shapes do not fit or dtypes differ.

    References:
      Hochreiter and Schmidhuber 1997, *Long Short-Term Memory*, with the forget gate of Gers et al. 2000,
      *Learning to Forget*. Peepholes: Gers et al. 2002, *Learning Precise Timing with LSTM Recurrent
      Networks*, section 3; here gradients flow through them too, as in Graves 2013, *Generating Sequences
      With Recurrent Neural Networks*, equations 7 to 11. Projection: Sak et al. 2014, *Long Short-Term
      Memory Based Recurrent Neural Network Architectures*. Normalisation: Ba et al. 2016, *Layer
      Normalization*, equations 20 to 22, whose ``b`` is the sum of the biases of
      the two norms here.

    >>> params = LSTMParams(jnp.zeros((1, 4)), jnp.zeros((1, 4)))
    >>> _, last = lstm(params, jnp.ones((1, 2, 1)), LSTMState(jnp.zeros((1, 1)), jnp.ones((1, 1))))
    >>> last.cell
    Array([[0.25]], dtype=float32)
    """
    width, out = _check_params(params, x)
    hidden, cell_state = (None, None) if state is None else state
    first = (
        first_state("state.hidden", hidden, (x.shape[0], out), x),
        first_state("state.cell", cell_state, (x.shape[0], width), x),
    )
    check_operand("recurrent_mask", recurrent_mask, (x.shape[0], out))
    norms = params.norms
    constants = LSTMConstants(params.peepholes, norms, recurrent_mask)
    kernels: tuple[jax.Array, ...] = (params.recurrent_kernel,)
    if params.projection_kernel is not None:
        kernels = (*kernels, params.projection_kernel)
    cell = lstm_cell if params.projection_kernel is None else _projected_cell

    def body(state: State, x: jax.Array, where: jax.Array | None) -> tuple[jax.Array, State]:
        projected = multiply_dense(x, params.input_kernel)
        inputs, seen = Stream(projected, sum_biases(params)), Stream()
        if norms is not None:
            inputs, seen = Stream(), Stream(layer_norm(projected, norms.input_scale, norms.input_bias))
        injections = (inputs, *(Stream() for _ in kernels[1:]))
        return recur(cell, DENSE, reverse, kernels, injections, seen, constants, state, where)

    outputs, last = over_time(body, first, x, where, chunk=remat_chunk, reverse=reverse)
    return outputs, LSTMState(*last)


def lstm_cell(multiply: Multiply, state: State, inputs: Any, constants: LSTMConstants) -> State:
    """One step of an LSTM; gates ``[N, ..., 4 H]``, states ``[N, ..., H]``."""
    hidden, cell = state
    gates = multiply(0, masked(hidden, constants.recurrent_mask))
    norms, peepholes = constants.norms, constants.peepholes
    if norms is not None:
        gates = inputs + layer_norm(gates, norms.recurrent_scale, norms.recurrent_bias)
    enter, forget, new, leave = jnp.split(gates, 4, -1)
    if peepholes is not None:
        enter += jnp.broadcast_to(peepholes[0], cell.shape) * cell
        forget += jnp.broadcast_to(peepholes[1], cell.shape) * cell
    cell = jax.nn.sigmoid(forget) * cell + jax.nn.sigmoid(enter) * jnp.tanh(new)
    if peepholes is not None:
        leave += jnp.broadcast_to(peepholes[2], cell.shape) * cell
    seen = cell if norms is None else layer_norm(cell, norms.cell_scale, norms.cell_bias)
    return jax.nn.sigmoid(leave) * jnp.tanh(seen), cell


def _projected_cell(multiply: Multiply, state: State, inputs: Any, constants: LSTMConstants) -> State:
    hidden, cell = lstm_cell(multiply, state, inputs, constants)
    return multiply(1, hidden), cell


def _check_params(params: LSTMParams, x: jax.Array) -> tuple[int, int]:
    """Checks the parameters; returns the widths of the cell and of the output."""
    projection = params.projection_kernel
    if projection is not None:
        check_layout("projection_kernel", projection, "H P")
    width = check_kernels(params, x, gates=4, out=None if projection is None else projection.shape[-1])
    out = width if projection is None else projection.shape[-1]
    check_operand("projection_kernel", projection, (width, out))
    check_operand("peepholes", params.peepholes, (3, width))
    if projection is not None and projection.dtype != x.dtype:
        raise ValueError(f"projection_kernel: expected the dtype of x ({x.dtype}), got {projection.dtype}")
    if params.norms is not None:
        if params.input_bias is not None or params.recurrent_bias is not None:
            raise ValueError("input_bias, recurrent_bias: expected None with norms, which have biases")
        for name, values in params.norms._asdict().items():
            check_operand(f"norms.{name}", values, (width if name.startswith("cell") else 4 * width,))
    return width, out
