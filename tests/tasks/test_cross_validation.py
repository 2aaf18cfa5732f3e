import json
import math

import numpy as np
import pytest

from jaxvision.tasks.cross_validation import fold_table, run_folds
from jaxvision.training import Progress


class Trainer:
    """Notes what it is asked for; the score of a fold is its number."""

    def __init__(self, stop_at=None):
        self.fitted = []
        self._stop_at = stop_at

    def fit(self, batches, folder, *, resumed, validation, variables):
        assert resumed and variables == "first"
        (folder / "checkpoints").mkdir(exist_ok=True)
        self.fitted.append((batches, folder.name, validation))
        progress = Progress(state=batches, step=1)
        progress.stop = "stopped by SIGINT" if len(self.fitted) == self._stop_at else "all 1 steps are done"
        return progress

    def evaluate(self, state, source):
        return {"accuracy": float(state), "f1": math.nan}, None


def test_each_fold_is_trained_and_scored_in_its_folder(tmp_path):
    trainer = Trainer()
    rows, stopped = run_folds(trainer, [1, 2], ["x", "y"], tmp_path, variables="first")
    assert stopped is None
    assert trainer.fitted == [(1, "fold1", "x"), (2, "fold2", "y")]
    assert [row["accuracy"] for row in rows] == [1.0, 2.0] and math.isnan(rows[0]["f1"])
    assert json.loads((tmp_path / "fold2" / "scores.json").read_text()) == {"accuracy": 2.0, "f1": None}
    assert not list(tmp_path.glob("*/checkpoints"))


def test_a_stopped_run_goes_on_in_the_fold_that_it_was_in(tmp_path):
    first = Trainer(stop_at=2)
    rows, stopped = run_folds(first, [1, 2, 3], ["x", "y", "z"], tmp_path, variables="first")
    assert stopped.stop == "stopped by SIGINT" and len(rows) == 1
    assert (tmp_path / "fold2" / "checkpoints").exists()
    second = Trainer()
    rows, stopped = run_folds(second, [1, 2, 3], ["x", "y", "z"], tmp_path, variables="first")
    assert stopped is None
    assert [name for _, name, _ in second.fitted] == ["fold2", "fold3"]
    assert [row["accuracy"] for row in rows] == [1.0, 2.0, 3.0]


def test_the_table_ends_with_mean_and_spread():
    values = [0.9, 0.8, 0.95]
    table = fold_table([{"accuracy": value} for value in values])
    assert [row["fold"] for row in table] == ["1", "2", "3", "mean", "std"]
    assert table[3]["accuracy"] == pytest.approx(np.mean(values))
    assert table[4]["accuracy"] == pytest.approx(np.std(values, ddof=1))
