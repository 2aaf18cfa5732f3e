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
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

Product = Callable[[jax.Array, jax.Array], jax.Array]
"""``product(operand [N, ...], kernel)``, linear in both."""

Multiply = Callable[[int, jax.Array], jax.Array]
"""``multiply(k, operand)``: the product with kernel ``k``, plus what is injected there at this step."""

State = tuple[jax.Array, ...]
Cell = Callable[[Multiply, State, Any, Any], State]
"""``cell(multiply, state, inputs, constants)``: the next state. It calls ``multiply`` once a kernel, in their
order, and applies no kernel otherwise."""


def dense(operand: jax.Array, kernel: jax.Array) -> jax.Array:
    """``[..., C] @ [C, D]`` in the kernel's dtype, added up in float32 at least: ``[..., D]``."""
    wide = jnp.promote_types(kernel.dtype, jnp.float32)
    return jnp.matmul(operand.astype(kernel.dtype), kernel, preferred_element_type=wide)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def recur(
    cell: Cell,
    product: Product,
    reverse: bool,
    kernels: Sequence[jax.Array],
    injections: Sequence[jax.Array | None],
    inputs: Any,
    constants: Any,
    state: State,
    where: jax.Array | None,
) -> tuple[jax.Array, State]:
    """Runs a cell over time.

    Args:
      cell: makes the next state of a state.
      product: what ``multiply`` does with a kernel.
      reverse: whether to go from the last step to the first.
      kernels: one for each call of ``multiply``.
      injections: added to the product of that kernel, each ``[T, N, ...]`` or None.
      inputs: tree of ``[T, N, ...]``; the cell sees one step of it.
      constants: tree that the cell sees as it is at every step.
      state: first state, ``[N, ...]`` each, float32 at least.
      where: bool ``[T, N]``; where it is false the state stays as it is. None for true.

    Returns:
      The first part of the state after each step, ``[T, N, ...]``, and the last state.
    """

    def step(state: State, moment: Any) -> tuple[State, jax.Array]:
        injected, seen, alive = moment
        multiply = _multiplier(product, kernels, injected, [])
        new = _freeze(alive, cell(multiply, state, seen, constants), state)
        return new, new[0]

    state, outputs = lax.scan(step, state, (tuple(injections), inputs, where), reverse=reverse)
    return outputs, state


@functools.partial(recur.defjvp, symbolic_zeros=True)
def _recur_jvp(cell: Cell, product: Product, reverse: bool, primals: Any, tangents: Any) -> Any:
    kernels, injections, inputs, constants, state, where = primals
    kernels_dot, injections_dot, inputs_dot, constants_dot, state_dot, _ = tangents

    def step(state: State, moment: Any) -> tuple[State, Any]:
        injected, seen, alive = moment
        products: list[jax.Array] = []
        multiply = _multiplier(product, kernels, injected, products)
        new = _freeze(alive, cell(multiply, state, seen, constants), state)
        return new, (new, tuple(products))

    last, (states, products) = lax.scan(step, state, (tuple(injections), inputs, where), reverse=reverse)
    before = _shift(states, state, reverse)
    sums_dot = _injected_tangents(
        product,
        kernels_dot,
        injections_dot,
        lambda: jax.vmap(functools.partial(_operands, cell, constants))(before, products, inputs),
        products,
    )
    moving = _moving(inputs_dot)
    step_tangent = _linear_step(cell, product, kernels, constants, _moving(constants_dot), list(moving))

    def linear(dot: State, moment: Any) -> tuple[State, jax.Array]:
        new = step_tangent(dot, *moment)
        return new, new[0]

    first_dot = tuple(
        jnp.zeros_like(value) if isinstance(dot, SymbolicZero) else dot
        for value, dot in zip(state, state_dot, strict=True)
    )
    moments = (before, products, inputs, where, sums_dot, list(moving.values()))
    last_dot, outputs_dot = lax.scan(linear, first_dot, moments, reverse=reverse)
    return (states[0], last), (outputs_dot, last_dot)


def _linear_step(
    cell: Cell,
    product: Product,
    kernels: Sequence[jax.Array],
    constants: Any,
    constants_dot: dict[int, jax.Array],
    moving_inputs: Sequence[int],
) -> Callable[..., State]:
    """The tangent of one step, of the state's tangent and of what is known at that step."""

    # Checkpointed: else its transpose is handed every derivative of every step.
    @functools.partial(jax.checkpoint, policy=jax.checkpoint_policies.nothing_saveable, prevent_cse=False)
    def step(
        dot: State, old: State, sums: Any, seen: Any, alive: jax.Array | None, sums_dot: Any, seen_dot: Any
    ) -> State:
        def run(old: State, sums: Any, seen_moving: Any, constants_moving: Any) -> State:
            def multiply(index: int, operand: jax.Array) -> jax.Array:
                return _recall(product, kernels[index], operand, sums[index])

            inputs = _merge(seen, moving_inputs, seen_moving)
            return cell(multiply, old, inputs, _merge(constants, list(constants_dot), constants_moving))

        dots = tuple(jnp.zeros_like(s) if d is None else d for s, d in zip(sums, sums_dot, strict=True))
        points = (old, sums, _leaves(seen, moving_inputs), _leaves(constants, list(constants_dot)))
        _, new = jax.jvp(run, points, (dot, dots, seen_dot, list(constants_dot.values())))
        return _freeze(alive, new, dot)

    return step


def _multiplier(
    product: Product,
    kernels: Sequence[jax.Array],
    injected: Sequence[jax.Array | None],
    sums: list[jax.Array],
) -> Multiply:
    """What a cell multiplies with; each result is also put into ``sums``."""

    def multiply(index: int, operand: jax.Array) -> jax.Array:
        assert index == len(sums), "a cell takes its kernels in order"
        y = product(operand, kernels[index])
        extra = injected[index]
        sums.append(y if extra is None else y + extra)
        return sums[-1]

    return multiply


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _recall(product: Product, kernel: jax.Array, operand: jax.Array, total: jax.Array) -> jax.Array:
    """A product that is known already, with the derivative of the product."""
    return total


@_recall.defjvp
def _recall_jvp(product: Product, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    kernel, _, total = primals
    _, operand_dot, total_dot = tangents
    return total, product(operand_dot, kernel) + total_dot


def _operands(cell: Cell, constants: Any, before: State, sums: Any, seen: Any) -> tuple[jax.Array, ...]:
    """What a cell multiplies with its kernels at one step, given the results."""
    operands: list[jax.Array] = []

    def multiply(index: int, operand: jax.Array) -> jax.Array:
        operands.append(operand)
        return sums[index]

    cell(multiply, before, seen, constants)
    return tuple(operands)


def _injected_tangents(
    product: Product,
    kernels_dot: Sequence[Any],
    injections_dot: Sequence[Any],
    find_operands: Callable[[], Sequence[jax.Array]],
    sums: Sequence[jax.Array],
) -> tuple[jax.Array | None, ...]:
    """Tangents of the products that do not come through the state, of all steps at once."""
    is_still = [isinstance(dot, SymbolicZero) for dot in kernels_dot]
    operands = None if all(is_still) else find_operands()
    tangents = []
    for index, extra_dot in enumerate(injections_dot):
        total = None if extra_dot is None or isinstance(extra_dot, SymbolicZero) else extra_dot
        if not is_still[index]:
            assert operands is not None
            flat = operands[index].reshape(-1, *operands[index].shape[2:])  # [T N, ...]
            of_kernel = product(flat, kernels_dot[index]).reshape(sums[index].shape)
            total = of_kernel if total is None else total + of_kernel
        tangents.append(total)
    return tuple(tangents)


def _moving(tangents: Any) -> dict[int, Any]:
    """The tangents that are not zero, by the number of their leaf."""
    return {i: dot for i, dot in enumerate(jax.tree.leaves(tangents)) if not isinstance(dot, SymbolicZero)}


def _leaves(tree: Any, numbers: Sequence[int]) -> list[Any]:
    leaves = jax.tree.leaves(tree)
    return [leaves[number] for number in numbers]


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


def _shift(states: State, first: State, reverse: bool) -> State:
    """The state before each step, of the states after each step."""
    if reverse:
        return tuple(jnp.concatenate([s[1:], f[None]]) for s, f in zip(states, first, strict=True))
    return tuple(jnp.concatenate([f[None], s[:-1]]) for s, f in zip(states, first, strict=True))
