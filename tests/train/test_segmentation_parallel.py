"""One device, 8-way jit and 8-way pmap are the same run."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxvision.weights import read_weights

SCRIPT = Path(__file__).parents[2] / "train" / "segmentation.py"


def _train(folder, name, *more):
    done = subprocess.run(
        [
            *(sys.executable, str(SCRIPT), "--run.folder", str(folder), "--run.name", name),
            *("--model.features", "4", "8", "--data.size", "32", "32", "--data.batch-size", "16"),
            *("--data.train-scenes", "64", "--data.eval-scenes", "10", "--data.jitter", "0.1"),
            *(
                "--run.steps",
                "3",
                "--run.no-compilation-cache",
                "--optimizer.warmup-steps",
                "0",
                "--optimizer.name",
                "momentum",
            ),
            *("--optimizer.learning-rate", "0.1", "--model.dropout", "0", *more),
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return read_weights(folder / name / "weights.safetensors")


@pytest.mark.slow
def test_eight_devices_give_the_parameters_of_one(tmp_path):
    eight = ("--run.cpu-devices", "8")
    one = _train(tmp_path, "one", "--run.cpu-devices", "1")
    for parallel in ("jit", "pmap"):
        many = _train(tmp_path, parallel, *eight, "--run.parallel", parallel)
        for name, array in one.items():
            np.testing.assert_allclose(many[name], array, rtol=1e-5, atol=1e-5, err_msg=f"{parallel} {name}")


def test_a_batch_that_the_devices_cannot_share_is_refused(tmp_path):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--run.cpu-devices", "3", "--run.folder", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert done.stderr == (
        "error: batch size 8 is not divisible by 3 devices; use a batch size of 6, or fewer devices\n"
    )
    assert not list(tmp_path.iterdir())
