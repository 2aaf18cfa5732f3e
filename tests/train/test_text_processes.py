"""Two processes train and score texts as one does, and one goes on where two stopped."""

import json
import shutil

import numpy as np
import pytest
from oracles.script_runs import run_processes

from jaxvision.training import read_json_lines
from jaxvision.weights import read_weights

COMMON = [
    *("--run.no-compilation-cache", "--optimizer.warmup-steps", "0", "--optimizer.name", "momentum"),
    *("--optimizer.learning-rate", "0.1", "--model.dropout", "0", "--run.log-every", "1", "--run.steps", "4"),
    *("--run.checkpoint-every", "2", "--run.heartbeat", "60"),
]

pytestmark = pytest.mark.slow


def _run(processes, script, *options):
    code, output, errors = run_processes(processes, script, *options, devices=2, timeout=600)
    return code, output + errors


def _assert_same(folder, other):
    first, second = (read_weights(path / "weights.safetensors") for path in (folder, other))
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_allclose(second[name], array, rtol=1e-5, atol=1e-5, err_msg=name)
    scores, found = (json.loads((path / "scores.json").read_text()) for path in (folder, other))
    assert found == pytest.approx(scores, rel=1e-3, abs=1e-3)
    records, others = (read_json_lines(path / "metrics.jsonl") for path in (folder, other))
    assert [(r["step"], r["kind"]) for r in records] == [(r["step"], r["kind"]) for r in others]


def _table(path):
    words = {"fruit": ["apple", "pear", "plum", "cherry"], "tool": ["hammer", "saw", "nail", "drill"]}
    rng, lines = np.random.default_rng(0), ["text\tlabel"]
    for index in range(61):
        label = list(words)[index % 2]
        lines.append(f"{' '.join(rng.choice(words[label], 1 + index % 4))}\t{label}")
    path.write_text("\n".join(lines))
    return path


def _text(path):
    path.write_text("\n".join(map(str, np.random.default_rng(0).integers(0, 9, 400))))
    return path


@pytest.mark.parametrize(
    ("script", "parallel", "make", "options"),
    [
        (
            "text_classification.py",
            "jit",
            lambda folder: ("--data.source", "csv", "--data.root", _table(folder / "texts.tsv")),
            ("--data.batch-size", "8", "--data.max-length", "4", "--model.embedding", "4"),
        ),
        (
            "language_model.py",
            "pmap",
            lambda folder: ("--data.source", "files", "--data.paths", _text(folder / "text.txt")),
            ("--data.batch-size", "8", "--data.window", "4", "--model.features", "8"),
        ),
    ],
)
def test_two_processes_are_one_and_one_goes_on_where_two_stopped(tmp_path, script, parallel, make, options):
    options = (*make(tmp_path), *options, *COMMON, "--run.folder", tmp_path, "--run.name")
    code, output = _run(1, script, *options, "one")
    assert code == 0, output
    code, output = _run(2, script, *options, "two", "--run.parallel", parallel)
    assert code == 0, output
    assert "4 device(s)" in output
    _assert_same(tmp_path / "one", tmp_path / "two")
    assert {path.name for path in (tmp_path / "two").iterdir()} == {
        path.name for path in (tmp_path / "one").iterdir()
    }
    cut = tmp_path / "cut"
    shutil.copytree(tmp_path / "two", cut)
    shutil.rmtree(cut / "checkpoints" / "4")
    (cut / "weights.safetensors").unlink()
    code, output = _run(1, script, "--resume", cut, "--run.parallel", "jit")
    assert code == 0, output
    _assert_same(tmp_path / "one", cut)
