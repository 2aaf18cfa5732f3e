"""One device, 8-way jit and 8-way pmap are the same run; each device keeps the state of its own rows."""

import json

import numpy as np
import pytest
from oracles.script_runs import run_all

from jaxvision.weights import read_weights

OPTIONS = [
    *("--data.source", "files", "--data.window", "4"),
    *("--data.batch-size", "16", "--data.eval-batch-size", "8"),
    *("--model.features", "8", "--model.dropout", "0", "--model.init-scale", "0.5"),
    *("--optimizer.name", "sgd", "--optimizer.schedule", "constant", "--optimizer.learning-rate", "2"),
    *("--run.steps", "6", "--run.checkpoint-every", "3", "--run.no-compilation-cache"),
]


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
    runs = {
        "one": ("--run.devices", "1"),
        "jit": (),
        "pmap": ("--run.parallel", "pmap"),
        "resumed": ("--run.devices", "1", "--run.steps", "3"),
    }
    common = (*OPTIONS, "--data.paths", text, "--run.folder", tmp_path)
    whole = [(*common, "--run.name", name, *more) for name, more in runs.items()]
    on_all = ("--run.devices", "8", "--run.parallel", "pmap", "--run.steps", "6")
    run_all("language_model.py", [*whole, ("--resume", tmp_path / "resumed", *on_all)])
    for name in ("jit", "pmap", "resumed"):
        _assert_same(tmp_path / "one", tmp_path / name)
