"""One device, 8-way jit and 8-way pmap are the same run, for the scripts of texts and words."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxvision.weights import read_weights

TRAIN = Path(__file__).parents[2] / "train"
NETS = {
    "text_classification": ["--model.cell", "gru", "--model.embedding", "4", "--model.features", "3"],
    "sequence_tagging": ["--data.lines", "64", "--model.embedding", "4", "--model.features", "3"],
    "text_recognition": [
        "--model.features",
        *"2234445",
        "--model.hidden",
        "3",
        "--data.width",
        "80",
        "--report.beam-size",
        "1",
    ],
}
DROPOUT = ("--model.dropout", "0")  # devices draw their own


def _train(script, folder, name, *more):
    done = subprocess.run(
        [
            *(sys.executable, str(TRAIN / f"{script}.py"), "--run.folder", str(folder), "--run.name", name),
            *(*NETS[script], *DROPOUT, "--data.batch-size", "32", "--run.steps", "2"),
            *("--run.no-compilation-cache", "--optimizer.warmup-steps", "0", "--optimizer.name", "momentum"),
            *("--optimizer.learning-rate", "0.01", *more),
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return read_weights(folder / name / "weights.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("script", NETS)
def test_eight_devices_give_the_parameters_of_one(script, tmp_path):
    one = _train(script, tmp_path, "one", "--run.cpu-devices", "1")
    for parallel in ("jit", "pmap"):
        many = _train(script, tmp_path, parallel, "--run.cpu-devices", "8", "--run.parallel", parallel)
        for name, array in one.items():
            np.testing.assert_allclose(many[name], array, rtol=1e-4, atol=1e-5, err_msg=f"{parallel} {name}")
