"""Scans over time whose gradient is as fast as their value; every recurrent layer is one.

Differentiated as it is written, a scan adds to the gradient of the recurrent kernel at every step: one thin
matrix product and one pass over the whole kernel a step. But the tangent of a step is linear, and its part
that comes from the kernel, ``h dW``, needs nothing but the states of the forward pass. So the derivative
given here takes that part of all steps out of the scan, as one product; its transpose is the kernel's
gradient as one product over all steps. The rest of the tangent is again a scan, whose transpose carries only
the gradient of the state. Of the forward pass the products and the states are kept; what a cell makes of
them is computed again. All of it is ordinary JAX code: forward mode, reverse mode, ``vmap`` and any order of
derivative work.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero


class Product(NamedTuple):
    """How an operand ``[N, ...]`` is multiplied with a kernel, linear in both.

    Attributes:
      apply: ``apply(operand, kernel)``.
      turn: ``turn(kernel)``, another layout of the kernel.
      apply_turned: ``apply_turned(operand, turn(kernel))``, the same product, written so that its transpose
        is the fast way round.
    """

    apply: Callable[[jax.Array, jax.Array], jax.Array]
    turn: Callable[[jax.Array], jax.Array]
    apply_turned: Callable[[jax.Array, jax.Array], jax.Array]


class Stream(NamedTuple):
    """What is added at each step: values of its own and the same bias; either may be None.

    Attributes:
      values: ``[T, N, ...]``.
      bias: shape of the last axes of the values. Added inside of the scan, it costs no pass over them.
    """

    values: jax.Array | None = None
    bias: jax.Array | None = None


Multiply = Callable[[int, jax.Array], jax.Array]
"""``multiply(k, operand)``: the product with kernel ``k``, plus what is injected there at this step."""

State = tuple[jax.Array, ...]
Cell = Callable[[Multiply, State, Any, Any], State]
"""``cell(multiply, state, inputs, constants)``: the next state. It calls ``multiply`` once a kernel, in their
order, and applies no kernel otherwise."""


def multiply_dense(operand: jax.Array, kernel: jax.Array) -> jax.Array:
    """``[..., C] @ [C, D]`` in the kernel's dtype, added up in float32 at least: ``[..., D]``."""
    wide = jnp.promote_types(kernel.dtype, jnp.float32)
    return jnp.matmul(operand.astype(kernel.dtype), kernel, preferred_element_type=wide)


def _multiply_turned(operand: jax.Array, turned: jax.Array) -> jax.Array:
    """``[N, C]`` times the kernel ``[D, C]``, whose transpose is an ordinary product with ``[D, C]``."""
    wide = jnp.promote_types(turned.dtype, jnp.float32)
    axes = (((1,), (1,)), ((), ()))
    return lax.dot_general(operand.astype(turned.dtype), turned, axes, preferred_element_type=wide)


DENSE = Product(multiply_dense, jnp.transpose, _multiply_turned)
"""``[N, C] @ [C, D]``. A CPU multiplies with a kernel that lies the wrong way round a fifth slower."""


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def recur(
    cell: Cell,
    product: Product,
    reverse: bool,
    kernels: Sequence[jax.Array],
    injections: Sequence[Stream],
    inputs: Stream,
    constants: Any,
    state: State,
    where: jax.Array | None,
) -> tuple[jax.Array, State]:
    """Runs a cell over time.

    Args:
      cell: makes the next state of a state.
      product: how ``multiply`` multiplies.
      reverse: whether to go from the last step to the first.
      kernels: one for each call of ``multiply``.
      injections: what is added to the product of that kernel.
      inputs: what the cell sees of each step; None where the stream has neither values nor bias.
      constants: tree that the cell sees as it is at every step.
      state: first state, ``[N, ...]`` each, float32 at least.
      where: bool ``[T, N]``; where it is false the state stays as it is. None for true.

    Returns:
      The first part of the state after each step, ``[T, N, ...]``, and the last state.
    """

    def step(state: State, moment: Any) -> tuple[State, jax.Array]:
        injected, seen, alive = moment
        multiply = _multiplier(product, kernels, injections, injected, [])
        new = cell(multiply, state, _shift_by(seen, inputs.bias), constants)
        new = _freeze(alive, new, state)
        return new, new[0]

    state, outputs = lax.scan(step, state, _moments(injections, inputs, where), reverse=reverse)
    return outputs, state


@functools.partial(recur.defjvp, symbolic_zeros=True)
def _recur_jvp(cell: Cell, product: Product, reverse: bool, primals: Any, tangents: Any) -> Any:
    kernels, injections, inputs, constants, state, where = primals
    kernels_dot, injections_dot, inputs_dot, constants_dot, state_dot, _ = tangents

    def step(state: State, moment: Any) -> tuple[State, Any]:
        injected, seen, alive = moment
        sums: list[jax.Array] = []
        multiply = _multiplier(product, kernels, injections, injected, sums)
        new = cell(multiply, state, _shift_by(seen, inputs.bias), constants)
        new = _freeze(alive, new, state)
        return new, (new, tuple(sums))

    last, (states, sums) = lax.scan(step, state, _moments(injections, inputs, where), reverse=reverse)
    before = _states_before(states, state, reverse)
    # What does not come through the state, of all steps at once.
    operands = functools.partial(_operands, cell, constants, inputs.bias)
    sums_dot = [_stream_tangent(dot, total.shape) for dot, total in zip(injections_dot, sums, strict=True)]
    if any(is_moving := [not isinstance(dot, SymbolicZero) for dot in kernels_dot]):
        factors = jax.vmap(operands)(before, sums, inputs.values)
        for k in (k for k, moves in enumerate(is_moving) if moves):
            flat = factors[k].reshape(-1, *factors[k].shape[2:])  # [T N, ...]
            sums_dot[k] = _add(sums_dot[k], product.apply(flat, kernels_dot[k]).reshape(sums[k].shape))
    inputs_dot = None if inputs.values is None else _stream_tangent(inputs_dot, inputs.values.shape)

    turned = [product.turn(kernel) for kernel in kernels]
    step_tangent = _linear_step(cell, product, turned, inputs.bias, constants, _moving(constants_dot))

    def linear(dot: State, moment: Any) -> tuple[State, jax.Array]:
        new = step_tangent(dot, *moment)
        return new, new[0]

    first_dot = tuple(
        jnp.zeros_like(value) if isinstance(dot, SymbolicZero) else dot
        for value, dot in zip(state, state_dot, strict=True)
    )
    moments = (before, sums, inputs.values, where, tuple(sums_dot), inputs_dot)
    last_dot, outputs_dot = lax.scan(linear, first_dot, moments, reverse=reverse)
    return (states[0], last), (outputs_dot, last_dot)


def _linear_step(
    cell: Cell,
    product: Product,
    turned: Sequence[jax.Array],
    input_bias: jax.Array | None,
    constants: Any,
    constants_dot: dict[int, jax.Array],
) -> Callable[..., State]:
    """The tangent of one step, of the state's tangent and of what is known at that step."""

    # Checkpointed: else its transpose is handed every derivative of every step.
    @functools.partial(jax.checkpoint, policy=jax.checkpoint_policies.nothing_saveable, prevent_cse=False)
    def step(
        dot: State, old: State, sums: Any, seen: Any, alive: jax.Array | None, sums_dot: Any, seen_dot: Any
    ) -> State:
        def run(old: State, sums: Any, seen: Any, moving: Any) -> State:
            def multiply(index: int, operand: jax.Array) -> jax.Array:
                return _recall(product, turned[index], operand, sums[index])

            return cell(multiply, old, seen, _merge(constants, list(constants_dot), moving))

        seen = _shift_by(seen, input_bias)
        leaves = jax.tree.leaves(constants)
        points = (old, sums, seen, [leaves[number] for number in constants_dot])
        dots = (dot, _or_zeros(sums_dot, sums), _or_zeros(seen_dot, seen), list(constants_dot.values()))
        _, new = jax.jvp(run, points, dots)
        return _freeze(alive, new, dot)

    return step


def _moments(injections: Sequence[Stream], inputs: Stream, where: jax.Array | None) -> Any:
    """What a scan goes over."""
    return tuple(stream.values for stream in injections), inputs.values, where


def _multiplier(
    product: Product,
    kernels: Sequence[jax.Array],
    injections: Sequence[Stream],
    injected: Sequence[jax.Array | None],
    sums: list[jax.Array],
) -> Multiply:
    """What a cell multiplies with at one step; each result is also put into ``sums``."""

    def multiply(index: int, operand: jax.Array) -> jax.Array:
        assert index == len(sums), "a cell takes its kernels in order"
        y = product.apply(operand, kernels[index])
        extra = injected[index]
        sums.append(_shift_by(y if extra is None else y + extra, injections[index].bias))
        return sums[-1]

    return multiply


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _recall(product: Product, turned: jax.Array, operand: jax.Array, total: jax.Array) -> jax.Array:
    """A product that is known already, with the derivative of the product."""
    return total


@_recall.defjvp
def _recall_jvp(product: Product, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    turned, _, total = primals
    _, operand_dot, total_dot = tangents
    return total, product.apply_turned(operand_dot, turned) + total_dot


def _operands(
    cell: Cell, constants: Any, input_bias: jax.Array | None, before: State, sums: Any, seen: Any
) -> tuple[jax.Array, ...]:
    """What a cell multiplies with its kernels at one step, given the results."""
    operands: list[jax.Array] = []

    def multiply(index: int, operand: jax.Array) -> jax.Array:
        operands.append(operand)
        return sums[index]

    cell(multiply, before, _shift_by(seen, input_bias), constants)
    return tuple(operands)


def _shift_by(values: Any, bias: jax.Array | None) -> Any:
    """Values plus a bias of their last axes; None stays None."""
    if bias is None or values is None:
        return values
    return values + jnp.broadcast_to(bias.astype(values.dtype), values.shape)


def _stream_tangent(dot: Stream, shape: tuple[int, ...]) -> jax.Array | None:
    """The tangent of a stream, ``[T, N, ...]``, or None for zeros."""
    parts = (part for part in dot if part is not None and not isinstance(part, SymbolicZero))
    wide = [jnp.broadcast_to(part, shape) for part in parts]
    return functools.reduce(jnp.add, wide) if wide else None


def _add(a: jax.Array | None, b: jax.Array) -> jax.Array:
    return b if a is None else a + b


def _or_zeros(dots: Any, values: Any) -> Any:
    """Tangents, zeros where one is None."""
    if isinstance(values, tuple):
        return tuple(map(_or_zeros, dots, values))
    return jnp.zeros_like(values) if dots is None and values is not None else dots


def _moving(tangents: Any) -> dict[int, Any]:
    """The tangents that are not zero, by the number of their leaf."""
    return {i: dot for i, dot in enumerate(jax.tree.leaves(tangents)) if not isinstance(dot, SymbolicZero)}


def _merge(tree: Any, numbers: Sequence[int], values: Sequence[Any]) -> Any:
    """The tree with other values in place of the leaves of these numbers."""
    leaves, structure = jax.tree.flatten(tree)
    for number, value in zip(numbers, values, strict=True):
        leaves[number] = value
    return jax.tree.unflatten(structure, leaves)


def _freeze(alive: jax.Array | None, new: State, old: State) -> State:
    """The new state where ``alive`` [N], else the old one."""
    if alive is None:
        return new
    return tuple(
        jnp.where(alive.reshape(-1, *(1,) * (after.ndim - 1)), after, before)
        for after, before in zip(new, old, strict=True)
    )


def _states_before(states: State, first: State, reverse: bool) -> State:
    """The state before each step, of the states after each step."""
    if reverse:
        return tuple(jnp.concatenate([s[1:], f[None]]) for s, f in zip(states, first, strict=True))
    return tuple(jnp.concatenate([f[None], s[:-1]]) for s, f in zip(states, first, strict=True))
