"""A trace of a few training steps, and a table of where their time goes, layer by layer."""

import csv
import gzip
import io
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxvision.core import write_atomically
from jaxvision.training.compiled_step import CompiledStep
from jaxvision.training.fit import Hook, Progress

_WARM_UP = 3  # steps before the trace: the first ones compile and fill caches
_SHOWN = 15  # rows of the table on the terminal
_COMPUTATION = re.compile(r"(?:ENTRY )?%?([\w.-]+) .*\{$")
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%?([\w.-]+) = ")
_NAME = re.compile(r'op_name="([^"]*)"')
_CALLED = re.compile(r"calls=%?([\w.-]+)")
_FLOW = re.compile(r"/(cond/branch_\d+_fun|while/(body|cond)|closed_call)\b")  # loops, choices of a platform
_BACKWARD = "transpose("


class LayerTime(NamedTuple):
    """Time of one layer in a step, summed over all cores or streams of all devices.

    Attributes:
      layer: path of the module in the network, or the kind of work outside it.
      forward: milliseconds a step.
      backward: milliseconds a step.
    """

    layer: str
    forward: float
    backward: float

    @property
    def total(self) -> float:
        """Milliseconds a step."""
        return self.forward + self.backward


class Profile(Hook):
    """Traces ``steps`` steps, writes the trace and ``profile.csv`` into the run's folder, prints the table.

    The trace, in ``profile/``, opens in TensorBoard, in XProf and in Perfetto.

    Args:
      folder: of the run.
      step: the step of the run.
      steps: how many to trace, after the first three.
    """

    def __init__(self, folder: Path, step: CompiledStep, *, steps: int) -> None:
        self._folder = folder
        self._step = step
        self._steps = steps
        self._seen = 0
        self._tracing = False

    def after_step(self, progress: Progress) -> None:
        """Starts and ends the trace."""
        self._seen += 1
        if self._seen == _WARM_UP:
            jax.block_until_ready(progress.metrics)
            jax.profiler.start_trace(self._folder / "profile")
            self._tracing = True
        elif self._seen == _WARM_UP + self._steps:
            self._finish(progress)

    def after(self, progress: Progress) -> None:
        """Ends the trace of a run that ended before it was whole; says so if there is none."""
        if self._tracing:
            self._finish(progress)
        elif self._seen < _WARM_UP:
            print(f"no profile: the run ended after {self._seen} steps, a trace starts after {_WARM_UP}")

    def _finish(self, progress: Progress) -> None:
        jax.block_until_ready(progress.metrics)
        jax.profiler.stop_trace()
        self._tracing = False
        traced = self._seen - _WARM_UP
        if traced == 0:
            return
        traces = sorted((self._folder / "profile").rglob("*.trace.json.gz"))
        events = json.loads(gzip.decompress(traces[-1].read_bytes()))["traceEvents"]
        rows = layer_times(events, instruction_layers(self._step.program_text()), steps=traced)
        write_atomically(self._folder / "profile.csv", lambda file: file.write(_csv(rows).encode()))
        print(_table(rows, traced))


def instruction_layers(program: str) -> dict[str, str]:
    """The name in the source, such as ``jit(step)/jvp(UNet)/head/dot``, of each instruction of a program.

    A fusion without a name has that of the last named instruction inside it.

    Args:
      program: XLA's text of a compiled program.

    >>> instruction_layers('  %dot.1 = f32[2]{0} dot(%a, %b), metadata={op_name="jit(f)/head/dot_general"}')
    {'dot.1': 'jit(f)/head/dot_general'}
    """
    names: dict[str, str] = {}
    last_inside: dict[str, str] = {}  # by computation: the text defines each one before its caller
    computation = ""
    for line in program.splitlines():
        if match := _COMPUTATION.match(line):
            computation = match[1]
        elif match := _INSTRUCTION.match(line):
            named, called = _NAME.search(line), _CALLED.search(line)
            name = named[1] if named else last_inside.get(called[1], "") if called else ""
            if name:
                names[match[1]] = last_inside[computation] = name
    return names


def layer_times(
    events: Iterable[Mapping[str, Any]], names: Mapping[str, str], *, steps: int
) -> list[LayerTime]:
    """Sums a trace by layer, the slowest first.

    Args:
      events: of Chrome's trace format; those of XLA's instructions have an argument ``hlo_op``.
      names: what :func:`instruction_layers` gave.
      steps: number of steps in the trace.
    """
    times: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for event in events:
        instruction = (event.get("args") or {}).get("hlo_op")
        if instruction is None or event.get("ph") != "X":
            continue
        name = names.get(instruction, "")
        times[_layer(name, instruction)][_BACKWARD in name] += event.get("dur", 0.0) / 1000 / steps
    rows = [LayerTime(layer, *pair) for layer, pair in times.items()]
    return sorted(rows, key=lambda row: -row.total)


def _layer(name: str, instruction: str) -> str:
    """The module's path in a name, whose last word is the operation; the kind of instruction without one."""
    match = re.search(r"jvp\((\w+)\)+/(.*)", name)
    if match is None:
        return f"({instruction.split('.', 1)[0]})"
    words: list[str] = []
    for word in _FLOW.sub("", f"/{match[2]}").split("/")[1:-1]:
        if re.fullmatch(r"\w+", word) and [word] != words[-1:]:  # others are functions traced as one
            words.append(word)
    return "/".join(words) or f"({match[1]})"


def _csv(rows: Iterable[LayerTime]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("layer", "forward_ms", "backward_ms"))
    writer.writerows((row.layer, f"{row.forward:.3f}", f"{row.backward:.3f}") for row in rows)
    return text.getvalue()


def _table(rows: list[LayerTime], steps: int) -> str:
    whole = sum(row.total for row in rows) or 1.0
    lines = [
        f"{row.total / whole:6.1%} {row.forward:9.2f} {row.backward:9.2f}  {row.layer}"
        for row in rows[:_SHOWN]
    ]
    rest = len(rows) - _SHOWN
    tail = [f"and {rest} more in profile.csv"] if rest > 0 else []
    heading = f"time of a step, mean of {steps}, in ms of all cores or streams:"
    return "\n".join([heading, f"{'share':>6} {'forward':>9} {'backward':>9}  layer", *lines, *tail])
