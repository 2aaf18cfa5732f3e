"""One device, 8-way jit and 8-way pmap are the same run."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxvision.weights import read_weights

SCRIPT = Path(__file__).parents[2] / "train" / "classification.py"


def _train(folder, name, *more):
    done = subprocess.run(
        [
            *(sys.executable, str(SCRIPT), "--run.folder", str(folder), "--run.name", name),
            *("--model.blocks", "1", "1", "1", "--model.features", "4", "4", "8"),
            *("--data.size", "8", "8", "--data.batch-size", "64", "--run.steps", "3"),
            *("--run.no-compilation-cache", "--optimizer.warmup-steps", "0"),
            *("--optimizer.name", "momentum", "--optimizer.learning-rate", "0.1", *more),
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return read_weights(folder / name / "weights.safetensors"), (folder / name / "scores.json").read_text()


@pytest.mark.slow
def test_eight_devices_give_the_parameters_and_scores_of_one(tmp_path):
    one, scores = _train(tmp_path, "one", "--run.cpu-devices", "1")
    accuracy = next(line for line in scores.splitlines() if '"accuracy"' in line)
    for parallel in ("jit", "pmap"):
        many, found = _train(tmp_path, parallel, "--run.cpu-devices", "8", "--run.parallel", parallel)
        for name, array in one.items():
            np.testing.assert_allclose(many[name], array, rtol=1e-4, atol=1e-5, err_msg=f"{parallel} {name}")
        assert accuracy in found
