"""Padded sequences ``[N, T, ...]``: their masks, and what recurrent layers do over their time."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import checkify

from jaxvision.core import check_floating, check_integer, check_layout
from jaxvision.ops.recurrence import State

Tree = TypeVar("Tree")

Body = Callable[[State, jax.Array, jax.Array | None], tuple[jax.Array, State]]
"""``body(state, x [T, N, ...], where [T, N])``: outputs ``[T, N, ...]`` and the last state."""


def sequence_mask(lengths: jax.Array | np.ndarray | Sequence[int], num_steps: int) -> jax.Array:
    """True for the steps of each sequence, false for the padding behind it.

    Args:
      lengths: ``[N]``, integers from 0 to ``num_steps``.
      num_steps: ``T``, of the padded batch.

    Returns:
      bool ``[N, T]``.

    Raises:
      ValueError: if lengths are not ``[N]`` integers, or one is outside [0, T]. Inside of ``jit``, where
        values are not known, that is an error under ``checkify`` only; such a sequence then counts as empty
        or as full.

    >>> sequence_mask([1, 3], 3)
    Array([[ True, False, False],
           [ True,  True,  True]], dtype=bool)
    """
    counts = jnp.asarray(lengths)
    check_layout("lengths", counts, "N", remedy="expected one number of steps a sequence")
    check_integer(lengths=counts)
    message = "lengths: expected from 0 to {last} steps, got from {low} to {high}"
    if not isinstance(counts, jax.core.Tracer):
        low, high = int(counts.min(initial=0)), int(counts.max(initial=0))
        if low < 0 or high > num_steps:
            raise ValueError(
                message.format(last=num_steps, low=low, high=high) + "; pad the batch to its longest sequence"
            )
    checkify.debug_check(
        jnp.all((counts >= 0) & (counts <= num_steps)),
        message,
        last=jnp.asarray(num_steps),
        low=counts.min(initial=0),
        high=counts.max(initial=0),
    )
    return jnp.arange(num_steps)[None, :] < counts[:, None]  # [N, T]


def detach_state(state: Tree) -> Tree:
    """The same numbers as constants for differentiation: where back-propagation through time is cut.

    Between the windows of a long text the state goes on, its gradient does not::

        def loss(params, state, window):
            outputs, state = lstm(params, window, detach_state(state))
            return ..., state

    Args:
      state: tree of arrays.

    Returns:
      The tree, without a gradient.

    References:
      Williams and Peng 1990, *An Efficient Gradient-Based Algorithm for On-Line Training of Recurrent Network
      Trajectories*.

    >>> jax.grad(lambda h: (h * detach_state(h)).sum())(jnp.array([3.0]))
    Array([3.], dtype=float32)
    """
    return jax.tree.map(lax.stop_gradient, state)


def scan_windows(
    step: Callable[[Any, Any], tuple[Any, Any]], state: Any, sequences: Any, *, window: int
) -> tuple[Any, Any]:
    """Runs a layer over a long sequence in windows, with the gradient cut between them.

    Truncated back-propagation through time in one call: values are those of one run over the whole, while
    each output's gradient ends at the begin of its own window. What the windows computed is kept for the
    gradient of one window at a time only.

    Args:
      step: ``step(state, window) -> (outputs, state)`` with arrays ``[N, window, ...]``, such as
        ``lambda state, x: lstm(params, x, state)``.
      state: first state; a tree of the shapes and dtypes of the state that ``step`` returns.
      sequences: array or tree of arrays ``[N, T, ...]``.
      window: steps a window; divides ``T``.

    Returns:
      Outputs, ``[N, T, ...]`` each, and the last state.

    Raises:
      ValueError: if ``window`` does not divide ``T`` or is below 1, or lengths differ.

    References:
      Williams and Peng 1990, as :func:`detach_state`; the gradient goes back 1 to ``window`` steps, their
      BPTT(h; h').

    >>> add = lambda total, x: (total[:, None] + x.cumsum(1), total + x.sum(1))
    >>> x = jnp.arange(4.0)[None]
    >>> scan_windows(add, jnp.zeros(1), x, window=2)[0]
    Array([[0., 1., 3., 6.]], dtype=float32)
    >>> jax.grad(lambda x: scan_windows(add, jnp.zeros(1), x, window=2)[0][0, 3])(x)
    Array([[0., 0., 1., 1.]], dtype=float32)
    """
    lengths = {values.shape[1] for values in jax.tree.leaves(sequences)}
    if len(lengths) != 1:
        raise ValueError(f"sequences: expected [N, T, ...] with one T, got {sorted(lengths)}")
    (length,) = lengths
    if window < 1 or length % window:
        raise ValueError(f"window: expected a divisor of the {length} steps, got {window}; pad or cut them")

    def split(values: jax.Array) -> jax.Array:
        count, _, *rest = values.shape
        return values.reshape(count, length // window, window, *rest).swapaxes(0, 1)

    def join(values: jax.Array) -> jax.Array:
        values = values.swapaxes(0, 1)  # [N, windows, window, ...]
        return values.reshape(values.shape[0], length, *values.shape[3:])

    @jax.checkpoint
    def run(state: Any, part: Any) -> tuple[Any, Any]:
        outputs, state = step(detach_state(state), part)
        return state, outputs

    state, outputs = lax.scan(run, state, jax.tree.map(split, sequences))
    return jax.tree.map(join, outputs), state


def over_time(
    body: Body,
    state: State,
    x: jax.Array,
    where: jax.Array | None,
    *,
    chunk: int | None,
    reverse: bool,
) -> tuple[jax.Array, State]:
    """Runs a layer of time-major arrays over batch-major ones.

    Args:
      body: the layer.
      state: first state.
      x: ``[N, T, ...]``; zero for the layer where there is no step, so that no gradient is nan there.
      where: bool ``[N, T]``, or None for true.
      chunk: steps that are computed again at a time for the gradient, or None to keep what all computed.
      reverse: whether the layer goes from the last step to the first.

    Returns:
      Outputs ``[N, T, ...]`` in the dtype of ``x``, zero where there is no step, and the last state.

    Raises:
      ValueError: if ``where`` is not bool ``[N, T]``, or ``chunk`` is below 1.
    """
    if chunk is not None and chunk < 1:
        raise ValueError(f"remat_chunk: expected at least 1 step or None, got {chunk}")
    steps = x.swapaxes(0, 1)  # [T, N, ...]
    if where is not None:
        if where.shape != x.shape[:2] or where.dtype != jnp.bool_:
            raise ValueError(
                f"where: expected bool [N, T], here {list(x.shape[:2])}, got {where.dtype} "
                f"{list(where.shape)}; sequence_mask makes it of lengths"
            )
        where = where.swapaxes(0, 1)
        steps = _keep(where, steps)
    if x.shape[1] == 0:
        return jnp.zeros((*x.shape[:2], *state[0].shape[1:]), x.dtype), state
    outputs, state = _run_chunks(body, state, steps, where, chunk, reverse)
    if where is not None:
        outputs = _keep(where, outputs)
    return outputs.swapaxes(0, 1).astype(x.dtype), state


def _run_chunks(
    body: Body, state: State, x: jax.Array, where: jax.Array | None, chunk: int | None, reverse: bool
) -> tuple[jax.Array, State]:
    """The whole time at once, or chunk by chunk, of which only the states between are kept."""
    length = x.shape[0]
    if chunk is None or chunk >= length:
        return body(state, x, where)
    missing = -length % chunk
    if missing:
        where = jnp.ones(x.shape[:2], bool) if where is None else where
        where = jnp.pad(where, ((0, missing), (0, 0)))
        x = jnp.pad(x, ((0, missing), *((0, 0),) * (x.ndim - 1)))

    def step(state: State, part: Any) -> tuple[State, jax.Array]:
        outputs, state = body(state, *part)
        return state, outputs

    count = (length + missing) // chunk
    parts = jax.tree.map(lambda values: values.reshape(count, chunk, *values.shape[1:]), (x, where))
    state, outputs = lax.scan(jax.checkpoint(step, prevent_cse=False), state, parts, reverse=reverse)
    return outputs.reshape(count * chunk, *outputs.shape[2:])[:length], state


def _keep(mask: jax.Array, values: jax.Array) -> jax.Array:
    """Values ``[T, N, ...]`` where the mask ``[T, N]`` is true, else zeros."""
    return jnp.where(mask.reshape(*mask.shape, *(1,) * (values.ndim - 2)), values, 0)


def first_state(name: str, state: jax.Array | None, shape: Sequence[int], like: jax.Array) -> jax.Array:
    """The state of this shape, in float32 at least and the dtype of ``like``; zeros for None.

    Raises:
      ValueError: if the shape is another, or the state is not floating.
    """
    wide = jnp.promote_types(like.dtype, jnp.float32)
    if state is None:
        return jnp.zeros(shape, wide)
    check_operand(name, state, shape)
    return state.astype(wide)


def check_operand(name: str, values: jax.Array | None, shape: Sequence[int]) -> None:
    """Checks the shape of an operand that may be None.

    Raises:
      ValueError: if the shape is another, or the operand is not floating.
    """
    if values is None:
        return
    check_floating(**{name: values})
    if values.shape != tuple(shape):
        raise ValueError(f"{name}: expected {list(shape)}, got {list(values.shape)}")
