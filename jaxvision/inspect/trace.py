"""Walks through the traced program of a network: products counted, fields propagated, nothing computed.

A network is traced once to a jaxpr. Each module's equations are known by a scope that
:func:`flax.linen.intercept_methods` puts around its call, and its results by a tag.
"""

import collections
import contextlib
import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from jaxvision.inspect.propagation import Constant, propagate
from jaxvision.inspect.spans import Span, WholeImage, image_span, join

_MARK = "jaxvision_call="
_SCOPE = re.compile(_MARK + r"(\d+)")

Shape = tuple[int, ...]
Field = tuple[int, ...] | None


class Call(NamedTuple):
    """One call of a module.

    Attributes:
      path: of the module, ``()`` for the network itself.
      kind: the module's type.
      parent: number of the call that it was made in.
      inputs: shapes of the arrays passed in.
      outputs: what it returned, as shapes and dtypes.
    """

    path: tuple[str, ...]
    kind: str
    parent: int
    inputs: tuple[Shape, ...]
    outputs: tuple[jax.ShapeDtypeStruct, ...]


class Flow(NamedTuple):
    """What is known of a variable.

    Attributes:
      spans: for each axis of the image that it depends on its span, or None where it sees the whole axis.
      constant: computes its value if it depends on no input at all, neither images nor parameters; else None.
    """

    spans: Mapping[int, Span | None]
    constant: Constant | None = None


class Recorder:
    """Numbers the calls of modules while a network is traced; the network's own call is number 0."""

    def __init__(self) -> None:
        self.calls: dict[int, Call] = {}
        self._open: list[tuple[tuple[str, ...], int]] = [((), 0)]

    def __call__(
        self, method: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext
    ) -> Any:
        """Interceptor of Linen's methods."""
        path, parent = tuple(context.module.path), self._open[-1][1]
        # A module that calls itself (super().__call__) is one call.
        if context.method_name != "__call__" or path == self._open[-1][0]:
            return method(*args, **kwargs)
        number = len(self.calls) + 1
        self.calls[number] = Call(path, type(context.module).__name__, parent, _shapes((args, kwargs)), ())
        self._open.append((path, number))
        try:
            with jax.named_scope(f"{_MARK}{number}"):
                result = method(*args, **kwargs)
        finally:
            self._open.pop()
        self.calls[number] = self.calls[number]._replace(outputs=array_structs(result))
        return jax.tree.map(lambda leaf: _tag(leaf, number), result)


def _tag(leaf: Any, number: int) -> Any:
    return checkpoint_name(leaf, f"{_MARK}{number}") if isinstance(leaf, jax.Array) else leaf


def array_structs(tree: Any) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Shapes and dtypes of all arrays in a tree."""
    return tuple(
        jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
        for leaf in jax.tree.leaves(tree)
        if isinstance(leaf, (jax.Array, jax.ShapeDtypeStruct))
    )


def _shapes(tree: Any) -> tuple[Shape, ...]:
    return tuple(struct.shape for struct in array_structs(tree) if struct.shape)


class Walk:
    """One pass through a jaxpr.

    Attributes:
      macs: multiply-accumulates by the number of the call that makes them.
      fields: receptive fields of the results of each call.
    """

    def __init__(self, axes: Sequence[int]) -> None:
        self.macs: collections.Counter[int] = collections.Counter()
        self.fields: dict[int, list[Field]] = collections.defaultdict(list)
        self._axes = axes

    def run(self, program: ClosedJaxpr | Jaxpr, inputs: Sequence[Flow], call: int, times: int) -> list[Flow]:
        """Walks through the equations; ``times`` is how often they run."""
        jaxpr = program.jaxpr if isinstance(program, ClosedJaxpr) else program
        constants = program.consts if isinstance(program, ClosedJaxpr) else ()
        flows = {variable: _constant(x) for variable, x in zip(jaxpr.constvars, constants, strict=True)}
        flows |= dict(zip(jaxpr.invars, inputs, strict=True))

        def read(variable: Any) -> Flow:
            return _constant(variable.val) if isinstance(variable, Literal) else flows[variable]

        for equation in jaxpr.eqns:
            scopes = _SCOPE.findall(str(equation.source_info.name_stack))
            own = int(scopes[-1]) if scopes else call
            operands = [read(variable) for variable in equation.invars]
            results = self._equation(equation, operands, own, times)
            flows.update(zip(equation.outvars, results, strict=True))
        return [read(variable) for variable in jaxpr.outvars]

    def _equation(self, equation: Any, operands: list[Flow], call: int, times: int) -> list[Flow]:
        name, parameters = equation.primitive.name, equation.params
        if name == "name" and parameters["name"].startswith(_MARK):
            number = int(parameters["name"].removeprefix(_MARK))
            self.fields[number].append(field_of(operands[0], self._axes))
            return operands
        if name == "cond":
            return self._branches(parameters, operands, call, times)
        if name == "scan" or name == "while":
            return self._loop(equation, operands, call, times)
        inner = [value for value in parameters.values() if isinstance(value, (ClosedJaxpr, Jaxpr))]
        # A call takes what its body takes; the body of a reduction takes two scalars.
        if len(inner) == 1 and _avals(_variables(inner[0])) == _avals(equation.invars):
            return self.run(inner[0], operands, call, times)
        self.macs[call] += times * _products(equation, operands)
        return _results(equation, operands)

    def _branches(self, parameters: Any, operands: list[Flow], call: int, times: int) -> list[Flow]:
        """The default of branches by platform; of any other branches the one with the most products."""
        branches, (choice, *operands) = parameters["branches"], operands
        if parameters.get("branches_platforms") is not None:
            return self.run(branches[-1], operands, call, times)
        walks = [Walk(self._axes) for _ in branches]
        results = [
            walk.run(branch, operands, call, times) for walk, branch in zip(walks, branches, strict=True)
        ]
        largest = max(walks, key=lambda walk: walk.macs.total())
        self.macs.update(largest.macs)
        for number, fields in largest.fields.items():
            self.fields[number] += fields
        chosen = Flow(dict.fromkeys(choice.spans, None))  # what decides is seen by the whole result
        return [_join_flows([chosen, *flows]) for flows in zip(*results, strict=True)]

    def _loop(self, equation: Any, operands: list[Flow], call: int, times: int) -> list[Flow]:
        """The bodies of a loop, ``length`` times where that is known; its results are not local."""
        whole = Flow(dict.fromkeys((axis for flow in operands for axis in flow.spans), None))
        for value in equation.params.values():
            if isinstance(value, (ClosedJaxpr, Jaxpr)):
                inputs = [whole] * len(_variables(value))
                self.run(value, inputs, call, times * equation.params.get("length", 1))
        return [whole] * len(equation.outvars)


def walk_through(jaxpr: ClosedJaxpr, images: Sequence[int]) -> tuple[Walk, list[Field]]:
    """Counts and propagates through a whole program.

    Args:
      jaxpr: of the network.
      images: which of its inputs are images (or sequences, or video). All have the rank of the first.

    Returns:
      The walk, and the receptive field of each output.
    """
    shapes = [variable.aval.shape for variable in jaxpr.jaxpr.invars]
    rank = len(shapes[images[0]]) if images else 0
    axes = range(1, rank - 1)
    inputs = [Flow({})] * len(shapes)
    for number in images:
        if len(shapes[number]) == rank:
            spans = {axis: image_span(rank, axis, shapes[number][axis]) for axis in axes}
            inputs[number] = Flow(spans)
    walk = Walk(axes)
    outputs = walk.run(jaxpr, inputs, 0, 1)
    return walk, [field_of(flow, axes) for flow in outputs]


def field_of(flow: Flow, axes: Sequence[int]) -> Field:
    """Size of the largest field along each axis; None where it is not local."""
    spans = [flow.spans.get(axis) for axis in axes]
    if not spans or any(span is None for span in spans):
        return None
    return tuple(span.size() for span in spans if span is not None)


def _variables(program: ClosedJaxpr | Jaxpr) -> Sequence[Any]:
    return (program.jaxpr if isinstance(program, ClosedJaxpr) else program).invars


def _avals(variables: Sequence[Any]) -> list[Shape]:
    return [variable.aval.shape for variable in variables]


def _constant(value: Any) -> Flow:
    return Flow({}, lambda: np.asarray(value))


def _results(equation: Any, operands: list[Flow]) -> list[Flow]:
    constants = [flow.constant for flow in operands if flow.constant is not None]
    if len(constants) == len(operands):
        return _constant_results(equation, constants)
    results: list[dict[int, Span | None]] = [{} for _ in equation.outvars]
    for axis in {axis for flow in operands for axis in flow.spans}:
        moved: Sequence[Span | None] = [None] * len(results)
        if all(flow.spans.get(axis, 0) is not None for flow in operands):
            spans = [flow.spans.get(axis) for flow in operands]
            with contextlib.suppress(WholeImage):
                moved = propagate(equation, spans, [flow.constant for flow in operands])
        for result, span in zip(results, moved, strict=True):
            result[axis] = span
    return [Flow(result) for result in results]


def _constant_results(equation: Any, operands: list[Constant]) -> list[Flow]:
    """Results of constants: computed when a rule asks for one, such as the weights of an interpolation."""

    @functools.cache
    def compute() -> list[np.ndarray]:
        results = equation.primitive.bind(*(value() for value in operands), **equation.params)
        return [np.asarray(x) for x in (results if equation.primitive.multiple_results else [results])]

    def pick(number: int) -> Constant:
        return lambda: compute()[number]

    return [Flow({}, pick(number)) for number in range(len(equation.outvars))]


def _join_flows(flows: Sequence[Flow]) -> Flow:
    spans: dict[int, Span | None] = {}
    for axis in {axis for flow in flows for axis in flow.spans}:
        found = [flow.spans[axis] for flow in flows if axis in flow.spans]
        local = [span for span in found if span is not None]
        spans[axis] = None
        if len(local) == len(found):
            with contextlib.suppress(WholeImage):
                spans[axis] = join(local)
    return Flow(spans)


def _products(equation: Any, operands: list[Flow]) -> int:
    """Multiply-accumulates of a convolution or a matrix product, 0 for anything else.

    A product with a constant is none of the network's: it interpolates, averages or blurs.
    """
    name, parameters = equation.primitive.name, equation.params
    if name not in ("conv_general_dilated", "dot_general") or any(flow.constant for flow in operands[:2]):
        return 0
    left, right = (variable.aval.shape for variable in equation.invars[:2])
    output = math.prod(equation.outvars[0].aval.shape)
    if name == "dot_general":
        return output * math.prod(left[axis] for axis in parameters["dimension_numbers"][0][0])
    numbers = parameters["dimension_numbers"]
    if any(spread > 1 for spread in parameters["lhs_dilation"]):
        # A transposed convolution: every input is multiplied by every tap, and zeros between them are not.
        return (
            math.prod(left)
            * math.prod(right)
            // right[numbers.rhs_spec[1]]
            // parameters["feature_group_count"]
        )
    return output * math.prod(right) // right[numbers.rhs_spec[0]]
