"""The script from end to end, on graphs so small that the compiler takes most of the time."""

import csv
import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from oracles.script_runs import run_all
from PIL import Image

from jaxvision.training import read_json_lines
from jaxvision.weights import read_weights, read_word_vectors

SCRIPT = Path(__file__).parents[2] / "train" / "node_embedding.py"
TINY = [
    *("--model.features", "8", "--model.walk-length", "10", "--model.window", "3"),
    *("--train.batch-size", "32", "--train.walks-per-step", "32", "--report.repeats", "2"),
    *("--run.log-every", "2", "--run.eval-every", "4", "--run.checkpoint-every", "2"),
    *("--run.devices", "1", "--run.no-compilation-cache"),
]


@pytest.fixture(scope="module")
def script():
    specification = importlib.util.spec_from_file_location("node_embedding_script", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


def _options(folder, name, *more, steps=6):
    return [*TINY, "--run.folder", str(folder), "--run.name", name, "--run.steps", str(steps), *more]


@pytest.fixture(scope="module")
def run(script, tmp_path_factory):
    """A finished run of six steps, with edges held out."""
    folder = tmp_path_factory.mktemp("runs")
    assert script.main(_options(folder, "a", "--data.held-out", "0.3")) == 0
    return folder / "a"


def test_a_run_leaves_everything_behind(run):
    assert {path.name for path in run.iterdir()} == {
        *("config.json", "metrics.jsonl", "events", "checkpoints", "weights.safetensors"),
        *("scores.json", "classification.csv", "vectors.txt", "vectors.bin", "map.png", "curves.png"),
    }
    records = read_json_lines(run / "metrics.jsonl")
    evaluated = [record for record in records if record["kind"] == "evaluate"]
    assert [record["step"] for record in evaluated] == [4, 6]
    assert evaluated[0]["score"] == evaluated[0]["micro_f1"] and 0 <= evaluated[0]["hadamard_auc"] <= 1
    assert all("walks_per_second" in record for record in records if record["kind"] == "train")
    scores = json.loads((run / "scores.json").read_text())
    assert scores["nodes"] == 34 and scores["edges"] == 2 * (78 - 23)
    assert 0 <= scores["mask_accuracy"] <= 1
    assert {"hadamard_auc", "average_auc", "l1_auc", "l2_auc"} <= set(scores)
    with (run / "classification.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["share"]) for row in rows] == [0.1, 0.3, 0.5, 0.7, 0.9]
    text, binary = (read_word_vectors(run / f"vectors.{kind}") for kind in ("txt", "bin"))
    assert text.words == binary.words == tuple(map(str, range(34)))
    tables = read_weights(run / "weights.safetensors")
    assert np.array_equal(text.vectors, tables["params/input"])
    assert np.array_equal(binary.vectors, text.vectors)
    for picture in ("map.png", "curves.png"):
        with Image.open(run / picture) as image:
            assert min(image.size) > 200


def test_a_resumed_run_is_bit_equal(script, run, tmp_path):
    shutil.copytree(run, tmp_path / "b")
    shutil.rmtree(tmp_path / "b" / "checkpoints" / "6")
    assert script.main(["--resume", str(tmp_path / "b")]) == 0
    first, second = (read_weights(folder / "weights.safetensors") for folder in (run, tmp_path / "b"))
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert (run / "scores.json").read_text() == (tmp_path / "b" / "scores.json").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ("--model.method", "line", "--train.batches-per-step", "4"),
        ("--model.method", "struc2vec", "--data.source", "barbell", "--data.clique", "4", "--data.path", "4"),
        ("--model.method", "node2vec", "--model.p", "0.5", "--model.loss", "hierarchical"),
    ],
)
def test_each_method_runs_and_resumes(script, tmp_path, options):
    assert script.main(_options(tmp_path, "a", *options, steps=4)) == 0
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    shutil.rmtree(tmp_path / "b" / "checkpoints" / "4")
    assert script.main(["--resume", str(tmp_path / "b")]) == 0
    first, second = (read_weights(tmp_path / name / "weights.safetensors") for name in "ab")
    assert all(np.array_equal(first[name], second[name]) for name in first)
    scores = json.loads((tmp_path / "a" / "scores.json").read_text())
    assert ("nearest_is_twin" in scores) == ("barbell" in options)
    assert bool(scores["classification"]) != ("barbell" in options)


def test_a_graph_of_ones_own_with_and_without_labels(script, tmp_path):
    ring = [(f"n {i}", f"n {(i + step) % 12}") for i in range(12) for step in (1, 2)]
    edges, labels = tmp_path / "edges.csv", tmp_path / "labels.csv"
    edges.write_text("source,target\n" + "".join(f"{a},{b}\n".replace("n ", "n") for a, b in ring))
    labels.write_text("".join(f"n{i},{'even' if i % 2 == 0 else 'odd'}\n" for i in range(12)))
    data = ("--data.source", "edges", "--data.root", str(edges))
    assert script.main(_options(tmp_path, "plain", *data, steps=2)) == 0
    scores = json.loads((tmp_path / "plain" / "scores.json").read_text())
    assert scores == {"nodes": 12, "edges": 48, "classification": []}
    assert not (tmp_path / "plain" / "classification.csv").exists()
    assert script.main(_options(tmp_path, "labels", *data, "--data.labels", str(labels), steps=2)) == 0
    assert (tmp_path / "labels" / "classification.csv").exists()


def test_planetoid_files_are_read(script, tmp_path):
    rng = np.random.default_rng(0)
    masks = np.arange(30) % 3
    np.savez(
        tmp_path / "tiny.npz",
        feat_indptr=np.arange(31),
        feat_indices=rng.integers(0, 5, 30),
        feat_shape=np.array([30, 5]),
        labels=np.arange(30) % 2,
        edge_index=rng.integers(0, 30, (2, 60)),
        **{f"{name}_mask": masks == index for index, name in enumerate(("train", "val", "test"))},
    )
    data = ("--data.source", "planetoid", "--data.root", str(tmp_path / "tiny.npz"))
    assert script.main(_options(tmp_path, "planetoid", *data, steps=2)) == 0
    assert 0 <= json.loads((tmp_path / "planetoid" / "scores.json").read_text())["mask_accuracy"] <= 1


def test_neighbours_are_listed(script, run, capsys):
    assert script.main(["neighbours", "--vectors", str(run / "vectors.bin"), "--top", "3", "0", "33"]) == 0
    shown = capsys.readouterr().out
    assert "cosine" in shown and shown.count("cosine") == 2
    with pytest.raises(ValueError, match="99"):
        script.main(["neighbours", "--vectors", str(run / "vectors.bin"), "99"])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--model.method", "line", "--model.features", "7"], "features: got 7, expected an even number"),
        (["--data.source", "edges"], "needs --data.root FILE"),
        (["--data.source", "planetoid", "--data.root", "absent.npz"], "absent.npz: no such file"),
        (["--data.held-out", "0.95"], "can be spared"),
    ],
)
def test_mistakes_are_named_before_a_folder_is_made(script, tmp_path, more, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        script.main(_options(tmp_path, "wrong", *more))
    assert not (tmp_path / "wrong").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--model.p", "0"], "--model: p: got 0.0, expected a number above 0"),
        (["--model.q", "0.5"], "--model.q 0.5: --model.method deepwalk does not read it"),
        (["--model.walk-length", "0"], "--model: length: got 0, expected 1 or more nodes"),
        (["--report.shares", "0.5", "1"], "--report.shares: got 1.0"),
    ],
)
def test_options_out_of_range_end_the_command_line(script, tmp_path, more, message, capsys):
    with pytest.raises(SystemExit):
        script.main(_options(tmp_path, "wrong", *more))
    shown = " ".join(word for word in capsys.readouterr().err.replace("│", " ").split())
    assert message in shown and not (tmp_path / "wrong").exists()


def test_a_resumed_run_may_not_be_another(script, run):
    with pytest.raises(ValueError, match=r"model\.negatives"):
        script.main(["--resume", str(run), "--model.negatives", "2"])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["node2vec", "line"])
def test_four_devices_give_what_one_does(tmp_path, method):
    """All runs in one process, which compiles without optimisations: the compiler takes the time."""
    bias = ("--model.q", "0.5") if method == "node2vec" else ("--train.batches-per-step", "4")
    shared = [word for word in TINY if word not in ("--run.devices", "1")]
    shared += ["--model.method", method, *bias, "--run.folder", str(tmp_path), "--run.steps", "3"]
    runs = [["--run.name", "one", "--run.devices", "1", *shared]]
    runs += [["--run.name", parallel, "--run.parallel", parallel, *shared] for parallel in ("jit", "pmap")]
    run_all("node_embedding.py", runs, devices=4)
    one = read_weights(tmp_path / "one" / "weights.safetensors")
    for parallel in ("jit", "pmap"):
        many = read_weights(tmp_path / parallel / "weights.safetensors")
        for name, array in one.items():
            np.testing.assert_allclose(many[name], array, rtol=1e-4, atol=1e-6, err_msg=f"{parallel} {name}")
