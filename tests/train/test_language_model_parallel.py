"""One device, 8-way jit and 8-way pmap are the same run; each device keeps the state of its own rows."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxvision.weights import read_weights

SCRIPT = Path(__file__).parents[2] / "train" / "language_model.py"


def _run(*arguments):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


def _train(text, folder, name, *more):
    _run(
        *(
            "--run.folder",
            str(folder),
            "--run.name",
            name,
            "--data.source",
            "files",
            "--data.paths",
            str(text),
        ),
        *("--data.batch-size", "16", "--data.window", "4", "--model.features", "8", "--model.dropout", "0"),
        *("--model.init-scale", "0.5", "--run.steps", "6", "--run.checkpoint-every", "3"),
        *("--run.no-compilation-cache", "--optimizer.name", "sgd", "--optimizer.schedule", "constant"),
        *("--optimizer.learning-rate", "2", "--data.eval-batch-size", "8", *more),
    )


def _assert_same(one, other):
    first, second = (read_weights(folder / "weights.safetensors") for folder in (one, other))
    for name, array in first.items():
        np.testing.assert_allclose(second[name], array, rtol=1e-5, atol=1e-5, err_msg=f"{other} {name}")
    scores = [json.loads((folder / "scores.json").read_text()) for folder in (one, other)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-5)


@pytest.mark.slow
def test_eight_devices_give_the_parameters_of_one_and_go_on_where_one_stopped(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("\n".join(map(str, np.random.default_rng(0).integers(0, 9, 700))))
    eight = ("--run.cpu-devices", "8")
    _train(text, tmp_path, "one", "--run.cpu-devices", "1")
    for parallel in ("jit", "pmap"):
        _train(text, tmp_path, parallel, *eight, "--run.parallel", parallel)
        _assert_same(tmp_path / "one", tmp_path / parallel)
    shutil.copytree(tmp_path / "one", tmp_path / "resumed")
    shutil.rmtree(tmp_path / "resumed" / "checkpoints" / "6")
    _run("--resume", str(tmp_path / "resumed"), *eight, "--run.parallel", "pmap")
    _assert_same(tmp_path / "one", tmp_path / "resumed")
