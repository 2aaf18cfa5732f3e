"""A function in XLA's own ops, for converters that know no choice between platforms."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Literal, Primitive

_CALLS = {"jit": "jaxpr", "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr"}


def native_formulation(function: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
    """The same function without ``lax.platform_dependent``: each choice falls on its default.

    :mod:`jaxvision.ops` computes some ops in other, equal, ways on a CPU; the default is the op as every
    other program has it, such as one convolution with ``groups``.

    Args:
      function: from an array to an array, pure.

    Returns:
      A function that traces ``function`` and evaluates its primitives, calls written out.

    >>> import jax.numpy as jnp
    >>> from jaxvision.ops import max_pool
    >>> double = native_formulation(lambda x: 2 * max_pool(x, 2))
    >>> double(jnp.ones((1, 2, 2, 1))).shape
    (1, 1, 1, 1)
    """

    def native(x: jax.Array) -> jax.Array:
        traced = jax.make_jaxpr(function)(jax.ShapeDtypeStruct(x.shape, x.dtype))
        return _evaluate(traced, [x])[0]

    return native


def _evaluate(traced: ClosedJaxpr, arguments: Sequence[Any]) -> list[Any]:
    """Evaluates a traced function equation by equation."""
    program = traced.jaxpr
    values: dict[Any, Any] = dict(zip(program.constvars, traced.consts, strict=True))
    values |= dict(zip(program.invars, arguments, strict=True))
    for equation in program.eqns:
        if equation.primitive.name == "platform_index":
            continue  # only the choice below reads it, and does not need it
        choice = equation.params.get("branches_platforms")
        read = [atom.val if isinstance(atom, Literal) else values.get(atom) for atom in equation.invars]
        if choice is not None:
            results = _evaluate(equation.params["branches"][choice.index(None)], read[1:])
        elif equation.primitive.name in _CALLS:
            results = _evaluate(equation.params[_CALLS[equation.primitive.name]], read)
        else:
            params = equation.primitive.get_bind_params(equation.params)
            bind = _pool_planes if "window_dimensions" in params else _bind
            result = bind(equation.primitive, read, params)
            results = result if equation.primitive.multiple_results else [result]
        values |= dict(zip(equation.outvars, results, strict=True))
    return [atom.val if isinstance(atom, Literal) else values[atom] for atom in program.outvars]


def _bind(primitive: Primitive, read: Sequence[Any], params: Mapping[str, Any]) -> Any:
    return primitive.bind(*read, **params)


def _pool_planes(primitive: Primitive, read: Sequence[Any], params: Mapping[str, Any]) -> Any:
    """Pools images ``[N, H, W, C]`` as ``[N C, H, W]``: runtimes pool over at most three axes."""
    (x,) = read
    if x.ndim != 4 or params["window_dimensions"][0] != 1 or params["window_dimensions"][3] != 1:
        return primitive.bind(x, **params)
    params = {name: value[:3] if isinstance(value, tuple) else value for name, value in params.items()}
    planes = jnp.moveaxis(x, 3, 1).reshape(-1, *x.shape[1:3])  # [N C, H, W]
    pooled = primitive.bind(planes, **params)
    return jnp.moveaxis(pooled.reshape(-1, x.shape[3], *pooled.shape[1:]), 1, 3)
