"""The script from end to end, on the embedded graphs and small files."""

import csv
import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxvision.training import read_json_lines
from jaxvision.weights import read_metadata, read_weights

SCRIPT = Path(__file__).parents[2] / "train" / "graph.py"
TINY = [
    *("--model.hidden", "4", "--run.devices", "1", "--run.no-compilation-cache"),
    *("--run.log-every", "2", "--run.eval-every", "4", "--run.checkpoint-every", "2"),
]


@pytest.fixture(scope="module")
def script():
    specification = importlib.util.spec_from_file_location("graph_script", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


def options(folder, name, *more, steps=6):
    return [*TINY, "--run.folder", str(folder), "--run.name", name, "--run.steps", str(steps), *more]


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def nodes(script, tmp_path_factory):
    """A finished run of six epochs on the karate club."""
    folder = tmp_path_factory.mktemp("runs")
    assert script.main(options(folder, "a")) == 0
    return folder / "a"


def assert_resumes(script, run, copy):
    """A run that lost its last checkpoint ends with the same weights and scores."""
    shutil.copytree(run, copy)
    shutil.rmtree(copy / "checkpoints" / "6")
    assert script.main(["--resume", str(copy)]) == 0
    first, second = (read_weights(folder / "weights.safetensors") for folder in (run, copy))
    assert first and all(np.array_equal(first[name], second[name]) for name in first)
    assert (run / "scores.json").read_text() == (copy / "scores.json").read_text()


def test_a_run_on_nodes_leaves_everything_behind(nodes):
    assert {path.name for path in nodes.iterdir()} == {
        *("config.json", "metrics.jsonl", "events", "checkpoints", "weights.safetensors", "scores.json"),
        *("classes.csv", "predictions.csv", "confusion.png", "curves.png", "map.png"),
    }
    assert [r["step"] for r in read_json_lines(nodes / "metrics.jsonl") if r["kind"] == "evaluate"] == [4, 6]
    rows = rows_of(nodes / "predictions.csv")
    assert [row["id"] for row in rows] == [str(member) for member in range(34)]
    assert [row["id"] for row in rows if row["part"] == "train"] == ["0", "33"]
    tested = [row for row in rows if row["part"] == "test"]
    right = np.mean([row["label"] == row["prediction"] for row in tested])
    assert json.loads((nodes / "scores.json").read_text())["accuracy"] == pytest.approx(right)
    for picture in nodes.glob("*.png"):
        with Image.open(picture) as image:
            assert min(image.size) > 200
    assert read_weights(nodes / "weights.safetensors")["params/conv0/kernel"].shape == (34, 4)
    assert json.loads(read_metadata(nodes / "weights.safetensors")["class_names"]) == [
        "instructor",
        "officer",
    ]


@pytest.mark.slow
def test_a_resumed_run_on_nodes_is_bit_equal(script, nodes, tmp_path):
    assert_resumes(script, nodes, tmp_path / "b")


@pytest.mark.slow
def test_graphs_are_classified_and_the_run_resumes(script, tmp_path):
    small = ("--task", "graph", "--model.layers", "2", "--data.batch-size", "16", "--run.keep", "9")
    assert script.main(options(tmp_path, "a", *small)) == 0
    assert len(rows_of(tmp_path / "a" / "predictions.csv")) == 40
    assert_resumes(script, tmp_path / "a", tmp_path / "b")


@pytest.mark.slow
def test_links_are_scored_and_the_run_resumes(script, tmp_path):
    small = ("--task", "link", "--data.source", "karate", "--model.decoder", "mlp", "--model.out", "4")
    assert script.main(options(tmp_path, "a", *small)) == 0
    rows = rows_of(tmp_path / "a" / "predictions.csv")
    assert [row["edge"] for row in rows] == ["1"] * 8 + ["0"] * 8
    scores = json.loads((tmp_path / "a" / "scores.json").read_text())
    order = sorted(rows, key=lambda row: float(row["probability"]))
    assert 0 <= scores["auc"] <= 1 and 0 <= float(order[0]["probability"]) <= 1
    assert_resumes(script, tmp_path / "a", tmp_path / "b")


@pytest.mark.slow
def test_neighbourhoods_are_trained_on_and_the_run_resumes(script, tmp_path):
    small = ("--data.fan-out", "3", "2", "--data.batch-size", "2", "--model.name", "sage")
    assert script.main(options(tmp_path, "a", *small)) == 0
    assert len(rows_of(tmp_path / "a" / "predictions.csv")) == 34
    assert_resumes(script, tmp_path / "a", tmp_path / "b")


@pytest.mark.slow
def test_own_files_are_read(script, tmp_path):
    rng = np.random.default_rng(0)
    lines = [f"n{i},{'ab'[i % 2]},{rng.normal() + i % 2:.3f}" for i in range(20)]
    (tmp_path / "nodes.csv").write_text("\n".join(["id,label,x", *lines]))
    ends = rng.integers(0, 20, (40, 2))
    (tmp_path / "edges.csv").write_text("\n".join(["source,target", *(f"n{i},n{j}" for i, j in ends)]))
    data = ("--data.source", "csv", "--data.root", str(tmp_path / "nodes.csv"))
    assert script.main(options(tmp_path, "csv", *data, steps=2)) == 0
    assert rows_of(tmp_path / "csv" / "predictions.csv")[3]["id"] == "n3"
    folder = tmp_path / "TOY"
    folder.mkdir()
    (folder / "TOY_graph_indicator.txt").write_text("".join(f"{i // 3 + 1}\n" for i in range(90)))
    (folder / "TOY_graph_labels.txt").write_text("".join(f"{i % 2}\n" for i in range(30)))
    chains = [(3 * i + a, 3 * i + b) for i in range(30) for a, b in ((1, 2), (2, 1), (2, 3), (3, 2))]
    (folder / "TOY_A.txt").write_text("".join(f"{a}, {b}\n" for a, b in chains))
    data = ("--task", "graph", "--data.source", "tu", "--data.root", str(folder), "--data.batch-size", "4")
    assert script.main(options(tmp_path, "tu", *data, "--model.layers", "2", steps=2)) == 0
    assert [row["class"] for row in rows_of(tmp_path / "tu" / "classes.csv")] == ["0", "1"]


@pytest.mark.slow
def test_many_seeds_go_on_where_they_stopped(script, tmp_path, capsys):
    assert script.main(options(tmp_path, "a", "--seeds", "3", steps=4)) == 0
    assert "test accuracy" in capsys.readouterr().out.splitlines()[-1]
    lines = (tmp_path / "a" / "seeds.jsonl").read_text().splitlines()
    scores = json.loads((tmp_path / "a" / "scores.json").read_text())
    tests = [json.loads(line)["test"] for line in lines]
    assert scores["accuracy_mean"] == pytest.approx(np.mean(tests)) and scores["seeds"] == 3
    assert scores["accuracy_std"] == pytest.approx(np.std(tests, ddof=1))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / "seeds.jsonl").write_text(lines[1] + "\n")
    assert script.main(["--resume", str(tmp_path / "b")]) == 0
    again = [json.loads(line) for line in (tmp_path / "b" / "seeds.jsonl").read_text().splitlines()]
    assert sorted(map(json.dumps, again)) == sorted(lines)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["chebnet", "gat", "gatv2", "gin", "dcnn", "monet", "sage"])
def test_every_network_trains_by_name(script, tmp_path, name):
    assert script.main(options(tmp_path, name, "--model.name", name, steps=2)) == 0
    losses = [record["loss"] for record in read_json_lines(tmp_path / name / "metrics.jsonl")]
    assert all(np.isfinite(losses))


def test_defaults_are_those_of_the_paper(script):
    gat = script.default_config(["--model.name", "gat", "--data.source", "planetoid"])
    assert (gat.model.hidden, gat.model.heads, gat.model.dropout) == (8, 8, 0.6)
    assert (gat.optimizer.learning_rate, gat.loss.l2, gat.loss.l2_layers) == (0.005, 5e-4, ())
    assert gat.data.normalize
    gcn = script.default_config([])
    assert (gcn.model.hidden, gcn.optimizer.learning_rate, gcn.run.steps) == (16, 0.01, 200)
    assert gcn.loss.l2_layers == ("conv0",) and not gcn.data.normalize
    assert script.default_config(["--task=graph"]).model.name == "gin"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--model.name", "gnc"], "unknown network of --task node 'gnc'; did you mean one of .*'gcn'"),
        (["--task", "edges"], "--task edges: expected node, graph, link"),
        (["--data.source", "planetoid"], "needs --data.root FILE.npz"),
        (["--data.source", "motifs"], "holds many graphs: give --task graph"),
        (["--task", "graph", "--data.source", "karate"], "karate is one graph"),
        (["--data.source", "tu"], "holds many graphs"),
        (["--run.parallel", "pmap"], "does not share out one whole graph"),
        (["--seeds", "2", "--data.fan-out", "2"], "--seeds is for --task node on a whole graph"),
        (["--seeds", "2", "--seeds-at-once", "0"], "--seeds-at-once: got 0"),
        (["--loss.l2-layers", "conv7"], "pattern 'conv7' matches no parameter"),
        (["--task", "graph", "--data.bucket", "8", "8"], "the bucket has 8 nodes, 8 edges"),
    ],
)
def test_mistakes_are_named(script, tmp_path, more, message):
    with pytest.raises(ValueError, match=message):
        script.main(options(tmp_path, "wrong", *more, steps=1))


@pytest.mark.parametrize("option", ["--model.hidden", "--data.fan-out", "--data.batch-size"])
def test_options_out_of_range_are_named(script, capsys, option):
    with pytest.raises(SystemExit):
        script.main([option, "0"])
    assert f"{option}: got" in capsys.readouterr().err


def test_a_resumed_run_may_not_change(script, nodes):
    with pytest.raises(ValueError, match="this would be another run"):
        script.main(["--resume", str(nodes), "--model.dropout", "0.1"])
