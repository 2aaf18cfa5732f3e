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


@pytest.mark.slow
def test_local_batch_norm_normalises_each_device_by_itself(tmp_path):
    options = ("--run.cpu-devices", "2", "--run.parallel", "pmap", "--run.steps", "1")
    synced = _train(tmp_path, "synced", *options)
    local = _train(tmp_path, "local", *options, "--run.no-sync-batch-norm")
    # The mean over the whole batch is the mean of the devices' means in the first layer, whose input is the
    # same; the variance is not, for it leaves out how the devices' means differ.
    mean, var = (f"batch_stats/encoder1_norm1/{name}" for name in ("mean", "var"))
    np.testing.assert_allclose(local[mean], synced[mean], rtol=1e-5, atol=1e-6)
    assert np.abs(local[var] - synced[var]).max() > 1e-6
    kernel = "params/head/kernel"
    assert np.abs(local[kernel] - synced[kernel]).max() > 1e-5


def test_local_batch_norm_needs_pmap(tmp_path):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--run.no-sync-batch-norm", "--run.folder", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: --run.no-sync-batch-norm: under --run.parallel jit")


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
