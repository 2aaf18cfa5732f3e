"""Two processes of four devices train, score and resume as one process of one device does."""

import json
import shutil

import numpy as np
import pytest
from oracles.script_runs import run_processes, said_by

from jaxvision.training import read_json_lines
from jaxvision.weights import read_weights

COMMON = [
    *("--run.no-compilation-cache", "--optimizer.warmup-steps", "0", "--optimizer.name", "momentum"),
    *("--optimizer.learning-rate", "0.1", "--run.steps", "5", "--run.log-every", "1"),
    *("--run.checkpoint-every", "3", "--run.heartbeat", "20"),
]
SEGMENTATION = [
    *("--model.features", "4", "8", "--data.size", "32", "32", "--data.batch-size", "16"),
    *("--data.train-scenes", "56", "--data.eval-scenes", "20", "--data.jitter", "0.1", *COMMON),
]
CLASSIFICATION = [
    *("--model.blocks", "1", "1", "1", "--model.features", "4", "4", "8"),
    *("--data.size", "8", "8", "--data.batch-size", "64", *COMMON),
]

pytestmark = pytest.mark.slow


def _run(processes, script, *options):
    code, output, errors = run_processes(processes, script, *options, devices=4, timeout=300)
    assert code == 0, output + errors
    return output


def _assert_same(folder, other, tolerance):
    first, second = (read_weights(path / "weights.safetensors") for path in (folder, other))
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_allclose(second[name], array, rtol=tolerance, atol=1e-5, err_msg=name)
    scores, found = (json.loads((path / "scores.json").read_text()) for path in (folder, other))
    assert found == pytest.approx(scores, rel=1e-3, abs=1e-3)
    records, others = (read_json_lines(path / "metrics.jsonl") for path in (folder, other))
    assert [(r["step"], r["kind"]) for r in records] == [(r["step"], r["kind"]) for r in others]


def _cut(folder, to):
    """The run as a kill after step 3 leaves it."""
    shutil.copytree(folder, to)
    shutil.rmtree(to / "checkpoints" / "5")
    (to / "weights.safetensors").unlink()
    return to


@pytest.fixture(scope="module")
def segmented(tmp_path_factory):
    folder = tmp_path_factory.mktemp("segmentation")
    where = ("--run.folder", folder, "--run.name")
    _run(1, "segmentation.py", *SEGMENTATION, *where, "one")
    output = _run(2, "segmentation.py", *SEGMENTATION, *where, "two")
    return folder / "one", folder / "two", output


def test_segmentation_by_two_processes_is_that_by_one(segmented):
    one, two, output = segmented
    _assert_same(one, two, 1e-5)
    assert {path.name for path in two.iterdir()} == {path.name for path in one.iterdir()}
    assert "unet_bn on 56 images resized to 32 x 32 (--data.size), 8 device(s)" in output
    assert not said_by(1, output), "process 0 alone prints"


def test_a_run_of_two_processes_is_resumed_by_one(segmented, tmp_path):
    one, two, _ = segmented
    _run(1, "segmentation.py", "--resume", _cut(two, tmp_path / "run"))
    _assert_same(one, tmp_path / "run", 1e-5)


def test_a_run_of_one_process_is_resumed_by_two_with_parameters_in_parts(segmented, tmp_path):
    one, _, _ = segmented
    parts = ("--run.parallel", "fsdp", "--run.shard-rules", ".=auto")
    _run(2, "segmentation.py", "--resume", _cut(one, tmp_path / "run"), *parts)
    _assert_same(one, tmp_path / "run", 1e-5)
    # And what two processes saved in parts, one process reads whole; there is no step left to make.
    (tmp_path / "run" / "weights.safetensors").unlink()
    _run(1, "segmentation.py", "--resume", tmp_path / "run", "--run.parallel", "jit", "--run.shard-rules")
    _assert_same(one, tmp_path / "run", 1e-5)


def test_classification_by_pmap_over_two_processes_is_that_by_one(tmp_path):
    where = ("--run.folder", tmp_path, "--run.name")
    _run(1, "classification.py", *CLASSIFICATION, *where, "one")
    _run(2, "classification.py", *CLASSIFICATION, *where, "two", "--run.parallel", "pmap")
    _assert_same(tmp_path / "one", tmp_path / "two", 1e-5)
    code, output, _ = run_processes(
        2, "classification.py", *CLASSIFICATION, *where, "two", devices=4, timeout=120
    )
    assert code == 1
    assert output.count("holds another run") == 1, "one process says it for all"
