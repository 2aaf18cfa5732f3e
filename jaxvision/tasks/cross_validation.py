"""Cross-validation: the same training on all parts of the data but one, for each part in turn."""

import functools
import json
import math
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxvision import training
from jaxvision.data import LabelledSource, TrainBatches
from jaxvision.tasks.report_files import print_table, write_scores, write_table
from jaxvision.tasks.scripts import Trainer


def run_folds(
    trainer: Trainer,
    batches: Sequence[TrainBatches],
    held_out: Sequence[LabelledSource],
    folder: Path,
    *,
    variables: Any,
) -> tuple[list[dict[str, float]], training.Progress | None]:
    """Trains and scores one model a fold, each in a folder of its own; the step is compiled once.

    A run that was stopped goes on where it was: folds that have their ``scores.json`` are done, and the one
    after them goes on from its newest checkpoint. The checkpoints of a fold that is done are deleted.

    Args:
      trainer: of the task.
      batches: of each fold, to train on.
      held_out: of each fold, to score on.
      folder: of the run.
      variables: that every model starts from.

    Returns:
      The scores of the folds that are done, and the progress of one that was stopped, or None.
    """
    rows: list[dict[str, float]] = []
    for number, (training_part, held) in enumerate(zip(batches, held_out, strict=True), start=1):
        place = folder / f"fold{number}"
        scores_file = place / "scores.json"
        if not training.from_first_process(scores_file.exists):
            place.mkdir(exist_ok=True)
            progress = trainer.fit(training_part, place, resumed=True, validation=held, variables=variables)
            print(f"{place}: {progress.stop}")
            if training.exit_code(progress):
                return rows, progress
            scores = trainer.evaluate(progress.state, held)[0]
            training.from_first_process(functools.partial(_finish, place, scores))
        values = training.from_first_process(functools.partial(_read, scores_file))
        rows.append({name: math.nan if value is None else value for name, value in values.items()})
    return rows, None


def _read(path: Path) -> Any:
    return json.loads(path.read_text())


def _finish(place: Path, scores: dict[str, float]) -> None:
    write_scores(place / "scores.json", scores)
    shutil.rmtree(place / "checkpoints")


def fold_table(rows: Sequence[dict[str, float]]) -> list[dict[str, Any]]:
    """One row a fold, then the mean and the standard deviation (of a sample) of each score.

    >>> for row in fold_table([{"accuracy": 0.5}, {"accuracy": 0.75}]):
    ...     print(row["fold"], round(row["accuracy"], 4))
    1 0.5
    2 0.75
    mean 0.625
    std 0.1768
    """
    numbered: list[dict[str, Any]] = [{"fold": str(n), **row} for n, row in enumerate(rows, start=1)]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    mean = {name: statistics.fmean(values) for name, values in columns.items()}
    spread = {
        name: statistics.stdev(values) if len(values) > 1 else math.nan for name, values in columns.items()
    }
    return [*numbered, {"fold": "mean", **mean}, {"fold": "std", **spread}]


def report_folds(folder: Path, rows: Sequence[dict[str, float]]) -> None:
    """Prints the table of the folds, and writes it as ``folds.csv``."""
    if not training.is_first_process():
        return
    table = fold_table(rows)
    write_table(folder / "folds.csv", table)
    headings = {name: name.replace("_", " ") for name in table[0]}
    print_table(f"{folder}: {len(rows)} folds", table, {}, headings=headings)
