"""What a compiled step sends between devices, counted from XLA's text of the program."""

import math
import re
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["Collective", "count_collectives", "ring_seconds", "sent_bytes"]

_KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
# "%name = (f32[2,3]{1,0}, f32[]) all-reduce(%a, %b), channel_id=1, ..."; of a pair, the start counts.
_INSTRUCTION = re.compile(rf"\s=\s(?P<type>\(.*?\)|\S+) (?P<kind>{'|'.join(_KINDS)})(?P<start>-start)?\(")
_ARRAY = re.compile(r"\b(pred|[a-z]+(\d+)\w*)\[([\d,]*)\]")


class Collective(NamedTuple):
    """One collective operation of a program.

    Attributes:
      kind: as XLA calls it, such as ``"all-reduce"``.
      size: bytes of its whole result on one device; of a reduce-scatter, of its operand, that is, of all
        parts.
      arrays: how many arrays go together in it.
    """

    kind: str
    size: int
    arrays: int


def count_collectives(program: str, *, num_devices: int) -> list[Collective]:
    """The collectives of a program, in the order of its text.

    Args:
      program: XLA's text of a compiled program, as :meth:`jaxvision.training.CompiledStep.program_text`
        gives it.
      num_devices: over which a reduce-scatter divides its result.

    >>> count_collectives("  %r = f32[8,2]{1,0} all-reduce(f32[8,2]{1,0} %x), channel_id=1", num_devices=8)
    [Collective(kind='all-reduce', size=64, arrays=1)]
    """
    found = []
    for match in _INSTRUCTION.finditer(program):
        kind, arrays = match["kind"], [_bytes(*array) for array in _ARRAY.findall(match["type"])]
        if match["start"] and kind in ("all-gather", "collective-permute"):
            arrays = arrays[len(arrays) // 2 :]  # the type of a start lists operands, then results
        size = sum(arrays) * (num_devices if kind == "reduce-scatter" else 1)
        found.append(Collective(kind, size, len(arrays)))
    return found


def _bytes(kind: str, bits: str, shape: str) -> int:
    numbers = math.prod(int(size) for size in shape.split(",") if size)
    return numbers if kind == "pred" else numbers * max(int(bits), 8) // 8


def sent_bytes(collective: Collective, num_devices: int) -> float:
    """Bytes that each device sends, with the algorithms that send least.

    A ring all-reduce is a reduce-scatter and an all-gather, and sends each array almost twice.

    References:
      Patarasuk and Yuan 2009, "Bandwidth optimal all-reduce algorithms for clusters of workstations",
      section 3.

    >>> sent_bytes(Collective("all-reduce", 800, 1), 8)
    1400.0
    """
    share = (num_devices - 1) / num_devices
    if collective.kind == "all-reduce":
        return 2 * share * collective.size
    return float(collective.size) if collective.kind == "collective-permute" else share * collective.size


def ring_seconds(
    collectives: Iterable[Collective],
    num_devices: int,
    *,
    bytes_per_second: float,
    hop_seconds: float,
    hops: int | None = None,
) -> float:
    """Time that the collectives take one after the other in a ring, or in a torus of rings.

    Args:
      collectives: of a step.
      num_devices: in the ring.
      bytes_per_second: that a device sends.
      hop_seconds: latency between neighbours.
      hops: of a reduce-scatter or an all-gather, an all-reduce takes twice as many; by default those of a
        ring, ``num_devices - 1``.
    """
    once = num_devices - 1 if hops is None else hops
    total = 0.0
    for collective in collectives:
        times = 2 if collective.kind == "all-reduce" else 1
        total += sent_bytes(collective, num_devices) / bytes_per_second + times * once * hop_seconds
    return total
