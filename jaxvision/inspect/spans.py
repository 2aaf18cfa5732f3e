"""Which input pixels an array's entries depend on: intervals of an image's axis, moved by array operations.

A :class:`Span` holds, for every entry of an array, the first and the last row (or column) of the image that
the entry depends on. Convolutions, poolings, slices and reshapes are then index arithmetic on two small
integer arrays: nothing of the network is computed. Entries on padding have the pixels that would lie there if
the image went on, so that fields are not cut off at the border and can be larger than the image.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

_NOWHERE = 2**40
"""First pixel of an entry that depends on none (zeros between the pixels of a dilated image); -last."""

_LARGEST = 2**20
"""Entries of a span. Only the scores of an attention over a long sequence have more."""


class WholeImage(Exception):
    """The field is not local: it has no size of its own, or none that could be found."""


class Step(NamedTuple):
    """How a span goes on along an axis: ``entries`` further on, both ends lie ``pixels`` further on."""

    entries: int
    pixels: int


_STILL = Step(1, 0)


@dataclasses.dataclass(frozen=True)
class Span:
    """Interval of pixels for each entry of an array.

    Attributes:
      first: int64, of the array's rank, of size 1 on axes along which the interval is the same.
      last: as ``first``; the pixel itself belongs to the interval.
      steps: for each axis how it goes on past its ends, or None where that is not known.
    """

    first: np.ndarray
    last: np.ndarray
    steps: tuple[Step | None, ...]

    def size(self) -> int:
        """Pixels of the largest interval."""
        return int(max((self.last - self.first).max(initial=-_NOWHERE) + 1, 0))

    def varies(self, axis: int) -> bool:
        """Whether entries along an axis see different pixels."""
        return self.first.shape[axis] > 1 or self.steps[axis] != _STILL


def image_span(rank: int, axis: int, size: int) -> Span:
    """The input's own span: entry ``i`` of ``axis`` is pixel ``i``."""
    pixels = np.arange(size, dtype=np.int64).reshape([size if other == axis else 1 for other in range(rank)])
    return Span(pixels, pixels, tuple(Step(1, 1) if other == axis else _STILL for other in range(rank)))


def join(spans: Iterable[Span]) -> Span:
    """Smallest intervals that hold those of all spans, whose arrays broadcast."""
    whole, *others = spans
    for span in others:
        if span is whole:
            continue
        rank = max(whole.first.ndim, span.first.ndim)
        left, right = _with_rank(whole, rank), _with_rank(span, rank)
        _check_size(np.broadcast_shapes(left.first.shape, right.first.shape))
        whole = Span(
            np.minimum(left.first, right.first),
            np.maximum(left.last, right.last),
            tuple(itertools.starmap(_common_step, zip(left.steps, right.steps, strict=True))),
        )
    return whole


def select(span: Span, axis: int, index: np.ndarray) -> Span:
    """The entries at ``index`` along an axis, also past its ends; the steps are the caller's to set."""
    size, step = span.first.shape[axis], span.steps[axis]
    if size == 1 and step == _STILL:
        return span
    if step is None:
        periods = np.zeros_like(index)
    else:
        below, above = np.maximum(-index, 0), np.maximum(index - size + 1, 0)
        periods = -(-above // step.entries) + below // -step.entries
        index = index - periods * step.entries
    index = np.clip(index, 0, size - 1)
    moved = _along(periods * (0 if step is None else step.pixels), axis, span.first.ndim)
    return Span(span.first.take(index, axis) + moved, span.last.take(index, axis) + moved, span.steps)


def slide(
    span: Span,
    axis: int,
    *,
    outputs: int,
    window: int = 1,
    stride: int = 1,
    before: int = 0,
    dilation: int = 1,
    spread: int = 1,
) -> Span:
    """A window along one axis: output ``p`` sees the entries ``(stride p + dilation t - before) / spread``.

    Args:
      span: of the input.
      axis: slid along.
      outputs: positions of the window.
      window: taps ``t``.
      stride: step of the window.
      before: padding at the begin; negative cuts off.
      dilation: distance of neighbouring taps.
      spread: the input's entries lie that far apart, with nothing between.
    """
    if not span.varies(axis):
        return span
    whole: Span | None = None
    for tap in range(window):
        entry = np.arange(outputs, dtype=np.int64) * stride + tap * dilation - before
        seen = select(span, axis, entry // spread)
        if spread > 1:
            there = _along(entry % spread == 0, axis, span.first.ndim)
            seen = dataclasses.replace(
                seen, first=np.where(there, seen.first, _NOWHERE), last=np.where(there, seen.last, -_NOWHERE)
            )
        whole = seen if whole is None else join((whole, seen))
    assert whole is not None
    step = span.steps[axis]
    if step is not None:
        step = _strided(Step(step.entries * spread, step.pixels), stride)
    return dataclasses.replace(whole, steps=(*span.steps[:axis], step, *span.steps[axis + 1 :]))


def reduce(span: Span, axes: Iterable[int]) -> Span:
    """Entries that see all that the entries along some axes see; the axes are removed.

    Raises:
      WholeImage: if then nothing distinguishes the entries: they see the image as a whole.
    """
    axes = tuple(axes)
    first, last = span.first.min(axes), span.last.max(axes)
    if any(span.varies(axis) for axis in axes) and np.all(first == first.min()):
        raise WholeImage
    return Span(first, last, tuple(step for axis, step in enumerate(span.steps) if axis not in axes))


def drop(span: Span, axis: int) -> Span:
    """Removes an axis of one entry."""
    steps = (*span.steps[:axis], *span.steps[axis + 1 :])
    return Span(span.first.squeeze(axis), span.last.squeeze(axis), steps)


def without_step(span: Span, axis: int) -> Span:
    """The same entries, of which it is not known how they go on past the axis' ends."""
    return dataclasses.replace(span, steps=(*span.steps[:axis], None, *span.steps[axis + 1 :]))


def permute(span: Span, order: Sequence[int]) -> Span:
    """Axis ``i`` of the result is axis ``order[i]``."""
    return Span(span.first.transpose(order), span.last.transpose(order), tuple(span.steps[i] for i in order))


def flip(span: Span, axes: Iterable[int]) -> Span:
    """Reverses axes."""
    axes = tuple(axes)
    steps = tuple(
        Step(step.entries, -step.pixels) if step is not None and axis in axes else step
        for axis, step in enumerate(span.steps)
    )
    return Span(np.flip(span.first, axes), np.flip(span.last, axes), steps)


def place(span: Span, rank: int, axes: Sequence[int]) -> Span:
    """Puts the axes at the places ``axes`` of an array of another rank; the others are new ones."""
    shape = [1] * rank
    steps: list[Step | None] = [_STILL] * rank
    for axis, target in enumerate(axes):
        shape[target], steps[target] = span.first.shape[axis], span.steps[axis]
    if list(axes) != sorted(axes):
        span = permute(span, np.argsort(axes).tolist())
    return Span(span.first.reshape(shape), span.last.reshape(shape), tuple(steps))


def concatenate(spans: Sequence[Span | None], sizes: Sequence[int], axis: int) -> Span:
    """Spans one behind the other along an axis; None is a part that depends on no pixel."""
    present = [span for span in spans if span is not None]
    if not any(span.varies(axis) for span in present):
        return join(present)
    rank = present[0].first.ndim
    nothing = np.full([1] * rank, _NOWHERE, np.int64)
    parts = [Span(nothing, -nothing, (_STILL,) * rank) if span is None else span for span in spans]
    shape = list(np.broadcast_shapes(*(_without(span.first.shape, axis) for span in parts)))
    _check_size([*shape, sum(sizes)])

    def ends(which: Callable[[Span], np.ndarray]) -> np.ndarray:
        return np.concatenate(
            [
                np.broadcast_to(which(span), [*shape[:axis], size, *shape[axis + 1 :]])
                for span, size in zip(parts, sizes, strict=True)
            ],
            axis,
        )

    steps = list(join(dataclasses.replace(span, first=nothing, last=-nothing) for span in present).steps)
    steps[axis] = None
    return Span(ends(lambda span: span.first), ends(lambda span: span.last), tuple(steps))


def reshape(span: Span, old: Sequence[int], new: Sequence[int]) -> Span:
    """Follows ``array.reshape(new)`` of an array of shape ``old``, of at least one entry."""
    old_shape: list[int] = []
    new_shape: list[int] = []
    steps: list[Step | None] = []
    for before, after in _axis_groups(old, new):
        moving = any(span.varies(axis) for axis in before)
        old_shape += [old[axis] if moving else 1 for axis in before]
        new_shape += [new[axis] if moving else 1 for axis in after]
        steps += _group_steps(span, old, new, before, after) if moving else [_STILL] * len(after)
    _check_size(old_shape)
    return Span(
        np.broadcast_to(span.first, old_shape).reshape(new_shape),
        np.broadcast_to(span.last, old_shape).reshape(new_shape),
        tuple(steps),
    )


def _group_steps(
    span: Span, old: Sequence[int], new: Sequence[int], before: Sequence[int], after: Sequence[int]
) -> list[Step | None]:
    """Steps of the axes ``after`` that the axes ``before`` are reshaped to."""
    old_axes = [axis for axis in before if old[axis] > 1 or span.varies(axis)]
    if len(old_axes) == 1:  # split: an outer axis steps over all the inner ones
        step = span.steps[old_axes[0]]
        strides = np.cumprod([1, *(new[axis] for axis in reversed(after))]).tolist()[-2::-1]
        alone = math.prod(new[axis] for axis in after) == 1
        return [
            _STILL if new[axis] == 1 and not alone else step and _strided(step, stride)
            for axis, stride in zip(after, strides, strict=True)
        ]
    new_axes = [axis for axis in after if new[axis] > 1]
    moving = [axis for axis in old_axes if span.varies(axis)]
    step = span.steps[old_axes[0]]
    if len(new_axes) == 1 and moving == old_axes[:1] and step is not None:  # merged with still inner axes
        inner = math.prod(old[axis] for axis in old_axes[1:])
        merged = Step(step.entries * inner, step.pixels)
        return [merged if axis == new_axes[0] else _STILL for axis in after]
    return [None] * len(after)


def _axis_groups(old: Sequence[int], new: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Shortest runs of old and new axes that hold the same entries."""
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        before: list[int] = []
        after: list[int] = []
        left = right = 1
        while (not before and i < len(old)) or (not after and j < len(new)) or left != right:
            if i < len(old) and (j == len(new) or not before or (left <= right and after)):
                before.append(i)
                left *= old[i]
                i += 1
            else:
                after.append(j)
                right *= new[j]
                j += 1
        groups.append((before, after))
    return groups


def _strided(step: Step, stride: int) -> Step:
    """How every ``stride``-th entry goes on."""
    entries = math.lcm(step.entries, stride) // stride
    return Step(entries, entries * stride // step.entries * step.pixels)


def _common_step(left: Step | None, right: Step | None) -> Step | None:
    """How the union of two spans goes on along an axis; None unless both move at the same rate."""
    if left is None or right is None or left.pixels * right.entries != right.pixels * left.entries:
        return None
    entries = math.lcm(left.entries, right.entries)
    return Step(entries, entries // left.entries * left.pixels)


def _with_rank(span: Span, rank: int) -> Span:
    """Adds leading axes."""
    missing = rank - span.first.ndim
    return span if not missing else place(span, rank, range(missing, rank))


def _along(values: np.ndarray, axis: int, rank: int) -> np.ndarray:
    return values.reshape([-1 if other == axis else 1 for other in range(rank)])


def _without(shape: Sequence[int], axis: int) -> list[int]:
    return [1 if other == axis else size for other, size in enumerate(shape)]


def _check_size(shape: Sequence[int]) -> None:
    if math.prod(shape) > _LARGEST:
        raise WholeImage
