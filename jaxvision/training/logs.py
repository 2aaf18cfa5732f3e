"""What a run reports while it runs: JSON lines, TensorBoard events, a progress bar or plain lines."""

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np

from jaxvision.core import write_atomically
from jaxvision.training.fit import Hook, Progress


class Writer(Protocol):
    """Takes one record after another."""

    def write(self, record: dict[str, Any]) -> None:
        """Takes a record: ``"step"`` and ``"kind"`` (``"train"`` or ``"evaluate"``), else numbers."""

    def close(self) -> None:
        """Flushes and closes."""


class JsonLines:
    """Appends each record as one line of JSON.

    Args:
      path: of the file; made if it is missing.
      step: the step that the run resumes from. Later records, of steps that will be run again, are dropped.
    """

    def __init__(self, path: Path, *, step: int = 0) -> None:
        kept = [record for record in read_json_lines(path) if record["step"] <= step] if path.exists() else []
        # Whole or not at all: a kill or a full disk here would cost the records of the whole run.
        text = "".join(json.dumps(record) + "\n" for record in kept)
        write_atomically(path, lambda file: file.write(text.encode()))
        self._file = path.open("a", encoding="utf-8")

    def write(self, record: dict[str, Any]) -> None:
        """Appends and flushes a line; a number that is not finite is written as null."""
        values = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in record.items()
        }
        self._file.write(json.dumps(values) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Reads the records; a last line cut off by a kill is left out."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


class TensorBoard:
    """Writes each number of a record as a scalar ``kind/name``.

    Args:
      folder: of the event files.
      step: the step that the run resumes from; TensorBoard hides later events of the earlier run.
    """

    def __init__(self, folder: Path, *, step: int = 0) -> None:
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

    def write(self, record: dict[str, Any]) -> None:
        """Writes the scalars."""
        for name, value in record.items():
            if isinstance(value, (int, float)) and name != "step":
                self._writer.add_scalar(f"{record['kind']}/{name}", value, record["step"])

    def close(self) -> None:
        """Writes what is left."""
        self._writer.close()


class Terminal:
    """A rich progress bar with step, images/s, loss and time left; plain lines where there is no terminal.

    Args:
      steps: of the whole run.
      step: the step that the run starts from.
      interactive: whether to draw a bar; default: whether standard output is a terminal.
      unit: what a batch holds, as in :class:`Log`.
    """

    def __init__(
        self, steps: int, *, step: int = 0, interactive: bool | None = None, unit: str = "images"
    ) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        self._console = Console(highlight=False, soft_wrap=True)
        self._steps = steps
        self._unit = unit
        self._started: tuple[float, int] = (time.perf_counter(), step)
        self._bar: Bar | None = None
        if self._console.is_terminal if interactive is None else interactive:
            self._bar = Bar(
                TextColumn("step"),
                MofNCompleteColumn(),
                BarColumn(),
                TextColumn("{task.fields[status]}"),
                TimeElapsedColumn(),
                console=self._console,
            )
            self._task = self._bar.add_task("train", total=steps, completed=step, status="compiling")
            self._bar.start()

    def write(self, record: dict[str, Any]) -> None:
        """Shows a record: scores as a line, training metrics on the bar or as a line."""
        if record["kind"] != "train":
            numbers = "  ".join(f"{name} {value:.4f}" for name, value in _numbers(record).items())
            self._console.print(f"step {record['step']}  {numbers}")
            return
        status = (
            f"{record[f'{self._unit}_per_second']:.1f} {self._unit}/s  loss {record['loss']:.4f}  "
            f"ETA {self._seconds_left(record['step'])}"
        )
        if self._bar is not None:
            self._bar.update(self._task, completed=record["step"], status=status)
        else:
            self._console.print(f"step {record['step']}/{self._steps}  {status}")

    def _seconds_left(self, step: int) -> str:
        started, first = self._started
        left = (time.perf_counter() - started) / max(step - first, 1) * (self._steps - step)
        return f"{int(left) // 60}:{int(left) % 60:02d}"

    def close(self) -> None:
        """Stops the bar."""
        if self._bar is not None:
            self._bar.stop()


def _numbers(record: dict[str, Any]) -> dict[str, float]:
    return {
        name: value
        for name, value in record.items()
        if isinstance(value, (int, float)) and name not in ("step", "seconds")
    }


class Log(Hook):
    """Gives the writers a record every ``every`` steps, and one after every evaluation.

    A training record holds the step's metrics, the learning rate, ``images_per_second`` (time spent in
    evaluations and saves left out), ``waited`` (the share of the time spent waiting for data) and
    ``seconds`` since the start of this process's run.

    Args:
      writers: closed at the end.
      every: steps between records.
      batch_size: images a step, over all devices.
      learning_rate: ``step -> learning rate``, or None.
      unit: what a batch holds, if not images: ``"words"`` gives ``words_per_second``.
    """

    def __init__(
        self,
        writers: Sequence[Writer],
        *,
        every: int,
        batch_size: int,
        learning_rate: Callable[[int], Any] | None = None,
        unit: str = "images",
    ) -> None:
        self._writers = writers
        self._every = every
        self._batch_size = batch_size
        self._learning_rate = learning_rate
        self._unit = unit
        self._started = self._last_time = 0.0
        self._last: tuple[int, float, float] = (0, 0.0, 0.0)  # step, waited, paused

    def before(self, progress: Progress) -> None:
        """Starts the clock."""
        self._started = self._last_time = time.perf_counter()
        self._last = (progress.step, progress.waited, progress.paused)

    def after_step(self, progress: Progress) -> None:
        """Writes if it is time, and whenever there are scores."""
        if progress.step % self._every == 0:
            self._write(self._training_record(progress))
        if progress.scores:
            self._write({"kind": "evaluate", "step": progress.step, **progress.scores})

    def after(self, progress: Progress) -> None:
        """Closes the writers."""
        for writer in self._writers:
            writer.close()

    def _training_record(self, progress: Progress) -> dict[str, Any]:
        host = jax.device_get(progress.metrics)  # waits for the step
        metrics = {name: float(np.ravel(value)[0]) for name, value in host.items() if name != "finite"}
        now = time.perf_counter()
        step, waited, paused = self._last
        seconds = max(now - self._last_time - (progress.paused - paused), 1e-9)
        record = {
            "kind": "train",
            "step": progress.step,
            **metrics,
            f"{self._unit}_per_second": (progress.step - step) * self._batch_size / seconds,
            "waited": (progress.waited - waited) / seconds,
            "seconds": now - self._started,
        }
        if self._learning_rate is not None:
            record["learning_rate"] = float(self._learning_rate(progress.step - 1))
        self._last_time = now
        self._last = (progress.step, progress.waited, progress.paused)
        return record

    def _write(self, record: dict[str, Any]) -> None:
        for writer in self._writers:
            writer.write(record)
