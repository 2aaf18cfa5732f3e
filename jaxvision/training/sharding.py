"""Which axis of a parameter is split over the devices: by rules on its path, or the largest that divides."""

import math
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from jax.sharding import PartitionSpec

__all__ = ["ShardRule", "parse_shard_rule", "shard_spec"]

_SPLIT = re.compile(r"(^|[/.])(params|opt_state)/")  # statistics and counters are small, and stay whole


class ShardRule(NamedTuple):
    """What becomes of the arrays whose path holds a pattern.

    Attributes:
      pattern: a regular expression, searched for in paths such as ``params/stage1_block0/conv1/kernel`` and
        ``opt_state/0/mu/stage1_block0/conv1/kernel``.
      axis: the axis to split, negative ones from the end; ``"auto"``: the largest that divides, however small
        the array; ``"none"``: keep it whole on every device.
    """

    pattern: str
    axis: int | Literal["auto", "none"]


def parse_shard_rule(text: str) -> ShardRule:
    """Reads ``PATTERN=AXIS``, where the axis is a number, ``auto`` or ``none``.

    Raises:
      ValueError: for anything else.

    >>> parse_shard_rule("head/kernel$=-1")
    ShardRule(pattern='head/kernel$', axis=-1)
    """
    pattern, equals, axis = text.rpartition("=")
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(
            f"--run.shard-rules {text}: {pattern!r} is no regular expression ({error})"
        ) from error
    if equals and pattern:
        if axis == "auto":
            return ShardRule(pattern, "auto")
        if axis == "none":
            return ShardRule(pattern, "none")
        if re.fullmatch(r"-?\d+", axis):
            return ShardRule(pattern, int(axis))
    raise ValueError(
        f"--run.shard-rules {text}: expected PATTERN=AXIS, the axis a number, auto or none, "
        "such as kernel$=-1"
    )


def shard_spec(
    path: str, shape: Sequence[int], *, count: int, axis_name: str, rules: Sequence[ShardRule], least: int
) -> PartitionSpec:
    """How an array of a training state is split over a mesh of one axis.

    The first rule whose pattern is in the path decides. Without one, arrays of parameters and of optimizer
    states with ``least`` numbers or more are split along their largest axis that ``count`` divides, the
    last of equal ones; whatever has no such axis stays whole.

    Args:
      path: of the array in the state.
      shape: of the array.
      count: devices of the mesh.
      axis_name: of the mesh.
      rules: tried in order.
      least: numbers in the smallest array that is worth the communication.

    Raises:
      ValueError: if the axis that a rule names is not there or cannot be divided. Of an optimizer's state,
        which may hold a row or a column only of a parameter, such an array stays whole instead.

    References:
      Rajbhandari et al. 2020, "ZeRO", section 5 (stage 3: parameters, gradients and optimizer states); Zhao
      et al. 2023, "PyTorch FSDP". There all arrays of a layer are laid end to end and cut into equal parts;
      here each array is cut along one axis, and arrays without one that divides stay whole, as in Xu et al.
      2020, "Automatic Cross-Replica Sharding of Weight Update".
    """
    if _SPLIT.search(path) is None:
        return PartitionSpec()
    rule = next((rule for rule in rules if re.search(rule.pattern, path)), None)
    axis: int | None
    if rule is None:
        axis = _largest(shape, count) if math.prod(shape) >= least else None
    elif rule.axis == "none":
        axis = None
    elif rule.axis == "auto":
        axis = _largest(shape, count)
    else:
        axis = _named(path, shape, count, rule)
    return PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, axis_name)


def _largest(shape: Sequence[int], count: int) -> int | None:
    dividing = [(size, axis) for axis, size in enumerate(shape) if size and size % count == 0]
    return max(dividing)[1] if dividing else None


def _named(path: str, shape: Sequence[int], count: int, rule: ShardRule) -> int | None:
    assert isinstance(rule.axis, int)
    axis = rule.axis + len(shape) if rule.axis < 0 else rule.axis
    if 0 <= axis < len(shape) and shape[axis] % count == 0:
        return axis
    if re.search(r"(^|[/.])opt_state/", path):
        return None
    problem = "has no such axis" if not 0 <= axis < len(shape) else f"cannot be divided by {count} devices"
    raise ValueError(
        f"--run.shard-rules {rule.pattern}={rule.axis}: {path} of {list(shape)} {problem}; name another "
        "axis, auto or none"
    )
