"""How each JAX primitive moves the :class:`Span` of its operands to its results."""

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np

from jaxvision.inspect.spans import (
    Span,
    WholeImage,
    concatenate,
    drop,
    flip,
    join,
    permute,
    place,
    reduce,
    reshape,
    select,
    slide,
    without_step,
)

Operands: TypeAlias = Sequence[Span | None]
"""One span an operand; None where it does not depend on the image."""

Constant: TypeAlias = Callable[[], np.ndarray]
"""Computes a value that depends on no input."""

Rule: TypeAlias = Callable[[Any, Operands], list[Span]]
"""``(equation, operands) -> spans of the results``; raises WholeImage where a result is not local."""


def propagate(equation: Any, operands: Operands, constants: Sequence[Constant | None]) -> list[Span]:
    """Spans of an equation's results.

    Args:
      equation: of a jaxpr.
      operands: at least one of them is a span.
      constants: for each operand that is one.

    Raises:
      WholeImage: if the results see the whole image, or the primitive is not known.
    """
    name = equation.primitive.name
    if any(0 in variable.aval.shape for variable in equation.outvars):
        raise WholeImage
    if name in _ELEMENTWISE:
        return [join(span for span in operands if span is not None)] * len(equation.outvars)
    if name in RULES:
        return RULES[name](equation, operands)
    if name in _BY_VALUE:
        return [_BY_VALUE[name](equation, operands, constants)]
    raise WholeImage


_LARGEST_MATRIX = 2**20
"""Entries of a constant matrix whose zeros are looked at: a resizing of a thousand pixels, no dense layer."""

_NAMES = """
abs acos acosh add add_any and asin asinh atan atan2 atanh cbrt ceil clamp convert_element_type copy copy_p
cos cosh digamma div eq erf erf_inv erfc exp exp2 expm1 floor ge gt integer_pow is_finite le lgamma log log1p
logistic lt max min mul name ne neg nextafter not optimization_barrier or pow reduce_precision rem round rsqrt
select_n sharding_constraint sign sin sinh sqrt square stop_gradient sub tan tanh xor
"""
_ELEMENTWISE = frozenset(_NAMES.split())


def _first(operands: Operands) -> Span:
    """The span of the first operand, the array; its other operands are indices or fill values."""
    if operands[0] is None or any(span is not None for span in operands[1:]):
        raise WholeImage
    return operands[0]


def _convolution(equation: Any, operands: Operands) -> list[Span]:
    parameters = equation.params
    if parameters["batch_group_count"] != 1:
        raise WholeImage
    span, numbers = _first(operands), parameters["dimension_numbers"]
    channels = numbers.lhs_spec[1]
    # A convolution of groups is read as one of all channels: the largest field of any.
    rank = span.first.ndim
    span = place(reduce(span, [channels]), rank, [i for i in range(rank) if i != channels])
    order = [0] * rank
    for source, target in zip(numbers.lhs_spec, numbers.out_spec, strict=True):
        order[target] = source
    span = permute(span, order)
    kernel, output = equation.invars[1].aval.shape, equation.outvars[0].aval.shape
    for axis, (target, tap) in enumerate(zip(numbers.out_spec[2:], numbers.rhs_spec[2:], strict=True)):
        span = slide(
            span,
            target,
            outputs=output[target],
            window=kernel[tap],
            stride=parameters["window_strides"][axis],
            before=parameters["padding"][axis][0],
            dilation=parameters["rhs_dilation"][axis],
            spread=parameters["lhs_dilation"][axis],
        )
    return [span]


def _reduce_window(equation: Any, operands: Operands) -> list[Span]:
    parameters, span = equation.params, _first(operands)
    for axis, size in enumerate(equation.outvars[0].aval.shape):
        span = slide(
            span,
            axis,
            outputs=size,
            window=parameters["window_dimensions"][axis],
            stride=parameters["window_strides"][axis],
            before=parameters["padding"][axis][0],
            dilation=parameters["window_dilation"][axis],
            spread=parameters["base_dilation"][axis],
        )
    return [span]


def _pad(equation: Any, operands: Operands) -> list[Span]:
    span = _first(operands)
    shape = equation.outvars[0].aval.shape
    for axis, (before, _, interior) in enumerate(equation.params["padding_config"]):
        span = slide(span, axis, outputs=shape[axis], before=int(before), spread=interior + 1)
    return [span]


def _slice(equation: Any, operands: Operands) -> list[Span]:
    span = _first(operands)
    strides = equation.params["strides"] or (1,) * span.first.ndim
    for axis, size in enumerate(equation.outvars[0].aval.shape):
        start = equation.params["start_indices"][axis]
        span = slide(span, axis, outputs=size, stride=strides[axis], before=-start)
    return [span]


def _split(equation: Any, operands: Operands) -> list[Span]:
    span, axis, start, parts = _first(operands), equation.params["axis"], 0, []
    for size in equation.params["sizes"]:
        parts.append(slide(span, axis, outputs=size, before=-start))
        start += size
    return parts


def _dynamic_slice(equation: Any, operands: Operands, constants: Sequence[Constant | None]) -> Span:
    span = _first(operands)
    for axis, (size, start) in enumerate(zip(equation.params["slice_sizes"], constants[1:], strict=True)):
        whole = equation.invars[0].aval.shape[axis]
        if size == whole or not span.varies(axis):
            continue
        if start is None:
            raise WholeImage
        span = slide(span, axis, outputs=size, before=-int(np.clip(start(), 0, whole - size)))
    return span


def _gather(equation: Any, operands: Operands, constants: Sequence[Constant | None]) -> Span:
    """Entries at constant places along one axis: ``x[:, places]``."""
    span, numbers = _first(operands), equation.params["dimension_numbers"]
    shape, sizes = equation.invars[0].aval.shape, list(equation.params["slice_sizes"])
    axes, rank = numbers.start_index_map, len(equation.outvars[0].aval.shape)
    simple = len(axes) == 1 and numbers.collapsed_slice_dims == axes and not numbers.operand_batching_dims
    if not simple or constants[1] is None or rank not in (len(shape), len(shape) - 1):
        raise WholeImage
    (axis,) = axes
    if [size for i, size in enumerate(sizes) if i != axis] != [n for i, n in enumerate(shape) if i != axis]:
        raise WholeImage
    index = constants[1]()[..., 0].astype(np.int64)
    kept = [i for i in range(len(shape)) if i != axis]
    if rank < len(shape):
        return place(drop(select(span, axis, index.reshape(1)), axis), rank, numbers.offset_dims)
    chosen = without_step(select(span, axis, np.clip(index, 0, shape[axis] - 1)), axis)
    (target,) = set(range(rank)) - set(numbers.offset_dims)
    order = dict(zip(kept, numbers.offset_dims, strict=True)) | {axis: target}
    return place(chosen, rank, [order[i] for i in range(rank)])


def _concatenate(equation: Any, operands: Operands) -> list[Span]:
    axis = equation.params["dimension"]
    return [concatenate(operands, [v.aval.shape[axis] for v in equation.invars], axis)]


def _tile(equation: Any, operands: Operands) -> list[Span]:
    span, shape = _first(operands), equation.invars[0].aval.shape
    for axis, times in enumerate(equation.params["reps"]):
        span = concatenate([span] * times, [shape[axis]] * times, axis)
    return [span]


def _reshape(equation: Any, operands: Operands) -> list[Span]:
    return [reshape(_first(operands), equation.invars[0].aval.shape, equation.outvars[0].aval.shape)]


def _broadcast(equation: Any, operands: Operands) -> list[Span]:
    shape, axes = equation.params["shape"], equation.params["broadcast_dimensions"]
    span = _first(operands)
    stretched = [i for i, axis in enumerate(axes) if equation.invars[0].aval.shape[i] != shape[axis]]
    rank = span.first.ndim
    for axis in stretched:
        span = place(drop(span, axis), rank, [i for i in range(rank) if i != axis])
    return [place(span, len(shape), axes)]


def _reduce(equation: Any, operands: Operands) -> list[Span]:
    axes = equation.params["axes"]
    return [reduce(join(span for span in operands if span is not None), axes)] * len(equation.outvars)


def _cumulative(equation: Any, operands: Operands) -> list[Span]:
    span = _first(operands)
    if span.varies(equation.params["axis"]):
        raise WholeImage
    return [span]


def _dot_general(equation: Any, operands: Operands, constants: Sequence[Constant | None]) -> Span:
    contracted, batch = equation.params["dimension_numbers"]
    rank, found = len(equation.outvars[0].aval.shape), []
    free = [
        [i for i in range(len(v.aval.shape)) if i not in (*contracted[side], *batch[side])]
        for side, v in enumerate(equation.invars)
    ]
    for side, span in enumerate(operands):
        if span is None:
            continue
        weights, shape = constants[1 - side], equation.invars[1 - side].aval.shape
        small = len(contracted[0]) == 1 and len(shape) == 2 and math.prod(shape) <= _LARGEST_MATRIX
        if weights is not None and small and not batch[0] and span.varies(contracted[side][0]):
            matrix = np.moveaxis(weights(), contracted[1 - side][0], 0)
            return _interpolation(span, contracted[side][0], matrix, side)
        start = len(batch[0]) + (len(free[0]) if side else 0)
        targets = {axis: number for number, axis in enumerate(batch[side])}
        targets |= {axis: start + number for number, axis in enumerate(free[side])}
        kept = [axis for axis in range(span.first.ndim) if axis in targets]
        found.append(place(reduce(span, contracted[side]), rank, [targets[axis] for axis in kept]))
    return join(found)


def _interpolation(span: Span, axis: int, weights: np.ndarray, side: int) -> Span:
    """An axis multiplied by constant weights ``[entries, outputs]``: an output sees what has a weight."""
    used = weights != 0
    taps = max(int(used.sum(0).max()), 1)
    order = np.argsort(~used, axis=0, kind="stable")[:taps]  # [taps, outputs]: entries with a weight first
    order = np.where(np.take_along_axis(used, order, 0), order, order[:1])
    seen = without_step(join([select(span, axis, index) for index in order]), axis)
    if np.all(seen.first == seen.first.min()):
        raise WholeImage
    axes = [i for i in range(span.first.ndim) if i != axis]
    return permute(seen, [axis, *axes] if side else [*axes, axis])


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "conv_general_dilated": _convolution,
        "reduce_window": _reduce_window,
        "reduce_window_max": _reduce_window,
        "reduce_window_min": _reduce_window,
        "reduce_window_sum": _reduce_window,
        "pad": _pad,
        "slice": _slice,
        "split": _split,
        "concatenate": _concatenate,
        "tile": _tile,
        "reshape": _reshape,
        "squeeze": _reshape,
        "expand_dims": _reshape,
        "broadcast_in_dim": _broadcast,
        "transpose": lambda equation, operands: [permute(_first(operands), equation.params["permutation"])],
        "rev": lambda equation, operands: [flip(_first(operands), equation.params["dimensions"])],
        **dict.fromkeys(("reduce_sum", "reduce_max", "reduce_min", "reduce_prod"), _reduce),
        **dict.fromkeys(("reduce_and", "reduce_or", "argmax", "argmin"), _reduce),
        **dict.fromkeys(("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp"), _cumulative),
    }
)

_BY_VALUE: Mapping[str, Callable[[Any, Operands, Sequence[Constant | None]], Span]] = MappingProxyType(
    {"dynamic_slice": _dynamic_slice, "gather": _gather, "dot_general": _dot_general}
)
