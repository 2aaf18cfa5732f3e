"""One device, 8-way jit and 8-way pmap are the same run, for the scripts of texts and words."""

import numpy as np
import pytest
from oracles.script_runs import run_all

from jaxvision.weights import read_weights

NETS = {
    "text_classification": [
        *("--data.source", "csv", "--data.min-count", "1", "--data.max-length", "6"),
        *("--model.cell", "gru", "--model.embedding", "4", "--model.features", "3"),
    ],
    "sequence_tagging": ["--data.lines", "64", "--model.embedding", "4", "--model.features", "3"],
    "text_recognition": [
        *("--model.features", *"2234445", "--model.hidden", "3"),
        *("--data.width", "80", "--report.beam-size", "1"),
    ],
}
DROPOUT = ("--model.dropout", "0")  # devices draw their own


def _table(path):
    """Texts of two classes that share their words."""
    rng = np.random.default_rng(0)
    rows = [f"{' '.join(rng.choice(list('abcdefgh'), 1 + row % 8))},{'xy'[row % 2]}" for row in range(100)]
    path.write_text("\n".join(["text,label", *rows]))
    return path


def _options(script, folder, name):
    return [
        *("--run.folder", folder, "--run.name", name, *NETS[script], *DROPOUT),
        *("--data.batch-size", "32", "--run.steps", "2", "--run.no-compilation-cache"),
        *("--optimizer.warmup-steps", "0", "--optimizer.name", "momentum"),
        *("--optimizer.learning-rate", "0.01"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("script", NETS)
def test_eight_devices_give_the_parameters_of_one(script, tmp_path):
    runs = {"one": ("--run.devices", "1"), "jit": (), "pmap": ("--run.parallel", "pmap")}
    if script == "text_classification":
        table = ("--data.root", _table(tmp_path / "texts.csv"))
        runs = {name: (*table, *more) for name, more in runs.items()}
    run_all(f"{script}.py", [(*_options(script, tmp_path, name), *more) for name, more in runs.items()])
    one, *many = (read_weights(tmp_path / name / "weights.safetensors") for name in runs)
    for weights in many:
        for name, array in one.items():
            np.testing.assert_allclose(weights[name], array, rtol=1e-4, atol=1e-5, err_msg=name)
