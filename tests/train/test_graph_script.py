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
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from jaxvision.data import karate_club
from jaxvision.training import read_json_lines
from jaxvision.weights import read_metadata, read_weights

CLUB = karate_club().graph
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
    labels = [int(row["edge"]) for row in rows]
    said = np.array([float(row["probability"]) for row in rows])
    assert scores["auc"] == pytest.approx(roc_auc_score(labels, said), abs=1e-6)
    assert scores["average_precision"] == pytest.approx(average_precision_score(labels, said), abs=1e-6)
    assert scores["loss"] == pytest.approx(log_loss(labels, said), rel=1e-4)
    club = {frozenset((int(s), int(r))) for s, r in zip(CLUB.senders, CLUB.receivers, strict=True)}
    named = [frozenset((int(row["first"]), int(row["second"]))) for row in rows]
    assert [pair in club for pair in named] == [label == 1 for label in labels] and len(set(named)) == 16
    assert_resumes(script, tmp_path / "a", tmp_path / "b")


@pytest.mark.slow
def test_neighbourhoods_are_trained_on_and_the_run_resumes(script, tmp_path):
    small = ("--data.fan-out", "3", "2", "--data.batch-size", "2", "--model.name", "sage")
    assert script.main(options(tmp_path, "a", *small)) == 0
    assert len(rows_of(tmp_path / "a" / "predictions.csv")) == 34
    assert_resumes(script, tmp_path / "a", tmp_path / "b")


@pytest.mark.slow
def test_own_files_are_read(script, tmp_path):
    data = write_csv(tmp_path / "own", ("id", "label", "x"))
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


def test_defaults_are_those_of_the_paper(script):
    gat = script.default_config(["--model.name", "gat", "--data.source", "planetoid"])
    assert (gat.model.hidden, gat.model.heads, gat.model.dropout) == (8, 8, 0.6)
    assert (gat.optimizer.learning_rate, gat.loss.l2, gat.loss.l2_layers) == (0.005, 5e-4, ())
    assert gat.data.normalize
    gcn = script.default_config([])
    assert (gcn.model.hidden, gcn.optimizer.learning_rate, gcn.run.steps) == (16, 0.01, 200)
    assert gcn.loss.l2_layers == ("conv0",) and not gcn.data.normalize
    assert script.default_config(["--task=graph"]).model.name == "gin"
    # 100 epochs in both: the 10th evaluation in a row that is no better ends a run; of many seeds the 100th.
    assert (gat.run.eval_every, gat.run.patience) == (10, 9) and gcn.run.patience is None
    seeds = script.default_config(["--model.name", "gat", "--seeds", "5"])
    assert (seeds.run.eval_every, seeds.run.patience) == (1, 99)


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
        (["--data.fan-out", "2"], "--data.fan-out 2: 1 hops, but gcn .* looks 2 edges far; give 2 numbers"),
        (["--task", "link", "--data.fan-out", "2", "2"], "--data.fan-out is for --task node, got"),
        (["--model.name", "gin", "--data.fan-out", "2", "2"], "gin adds up all neighbours of a node"),
        (["--loss.l2-layers", "conv7"], "pattern 'conv7' matches no parameter"),
        (["--task", "graph", "--data.bucket", "8", "8"], "the bucket has 8 nodes, 8 edges"),
    ],
)
def test_mistakes_are_named(script, tmp_path, more, message):
    with pytest.raises(ValueError, match=message):
        script.main(options(tmp_path, "wrong", *more, steps=1))


def write_csv(
    folder, columns=("id", "label", "split", "x"), *, weighted=False, splits=("train", "val", "test")
):
    """Twenty nodes in two rings, of which a few edges are crossed."""
    folder.mkdir(exist_ok=True)
    rows = [
        {
            "id": f"n{i}",
            "label": "ab"[i % 2],
            "split": splits[i // 2 % len(splits)],
            "x": str(i % 2 + 0.1 * (i % 3)),
        }
        for i in range(20)
    ]
    lines = [",".join(columns), *(",".join(row[column] for column in columns) for row in rows)]
    (folder / "nodes.csv").write_text("\n".join(lines))
    pairs = [(i, (i + 2) % 20) for i in range(20)] + [(0, 5), (3, 8)]
    edges = [f"n{i},n{j}" + (f",{1 + i % 4}" if weighted else "") for i, j in pairs]
    (folder / "edges.csv").write_text("\n".join(["source,target" + (",weight" if weighted else ""), *edges]))
    return "--data.source", "csv", "--data.root", str(folder / "nodes.csv")


def predict(script, run, out, *more):
    assert (
        script.main(["predict", "--weights", str(run / "weights.safetensors"), "--out", str(out), *more]) == 0
    )
    return rows_of(out / "predictions.csv")


def test_nodes_are_predicted_as_the_run_did_and_others_too(script, nodes, tmp_path):
    found = predict(script, nodes, tmp_path)
    trained = rows_of(nodes / "predictions.csv")
    assert list(found[0]) == ["id", "prediction", "probability"] and len(found) == 34
    for row, other in zip(found, trained, strict=True):
        assert (row["id"], row["prediction"]) == (other["id"], other["prediction"])
        assert float(row["probability"]) == pytest.approx(float(other["probability"]), rel=1e-5)
    with pytest.raises(ValueError, match="--root: the network was trained on karate, which is no file"):
        predict(script, nodes, tmp_path, "--root", "x.csv")
    with pytest.raises(ValueError, match="--pairs: the network was trained on --task node"):
        predict(script, nodes, tmp_path, "--pairs", "x.csv")


@pytest.mark.slow
def test_other_nodes_are_predicted_without_labels(script, tmp_path):
    data = write_csv(tmp_path / "old", weighted=True)
    small = ("--model.name", "monet", "--data.fan-out", "3", "3", "--data.batch-size", "8")
    assert script.main(options(tmp_path, "a", *data, *small, steps=40)) == 0
    write_csv(tmp_path / "new", ("id", "x"), weighted=True)
    found = predict(script, tmp_path / "a", tmp_path / "out", "--root", str(tmp_path / "new" / "nodes.csv"))
    assert [row["prediction"] for row in found] == [
        row["prediction"] for row in rows_of(tmp_path / "a" / "predictions.csv")
    ]
    assert {row["prediction"] for row in found} <= {"a", "b"}
    for columns, weighted, message in (
        (("id", "label"), True, "trained on the features x, but the nodes have"),
        (("id", "x"), False, "trained on edges that carry weights, those of the graph carry nothing"),
    ):
        write_csv(tmp_path / "odd", columns, weighted=weighted)
        with pytest.raises(ValueError, match=message):
            predict(script, tmp_path / "a", tmp_path / "out", "--root", str(tmp_path / "odd" / "nodes.csv"))


@pytest.mark.slow
def test_links_need_no_labels_and_are_predicted(script, tmp_path, capsys):
    data = write_csv(tmp_path / "own", ("id",), weighted=True)
    small = ("--task", "link", "--model.name", "sage", "--model.out", "4")
    assert script.main(options(tmp_path, "a", *data, *small, steps=2)) == 0
    assert "edges carry weights, which sage does not read: they are left out" in capsys.readouterr().out
    found = predict(script, tmp_path / "a", tmp_path / "best", "--top", "7")
    said = [float(row["probability"]) for row in found]
    assert len(found) == 7 and said == sorted(said, reverse=True) and {row["edge"] for row in found} == {"0"}
    (tmp_path / "pairs.csv").write_text("source,target\nn0,n2\nn2,n0\nn1,n0\n")
    rows = predict(script, tmp_path / "a", tmp_path / "named", "--pairs", str(tmp_path / "pairs.csv"))
    assert [(row["first"], row["second"], row["edge"]) for row in rows] == [
        ("n0", "n2", "1"), ("n2", "n0", "1"), ("n1", "n0", "0"),
    ]  # fmt: skip
    assert float(rows[0]["probability"]) == pytest.approx(float(rows[1]["probability"]), rel=1e-5)
    (tmp_path / "pairs.csv").write_text("source,target\nn0,n2\nn0,pope\n")
    with pytest.raises(ValueError, match="line 3: 'pope' is no node of the graph"):
        predict(script, tmp_path / "a", tmp_path / "named", "--pairs", str(tmp_path / "pairs.csv"))
    with pytest.raises(ValueError, match="no column 'label'"):
        script.main(options(tmp_path, "b", *data, steps=2))


@pytest.mark.slow
def test_other_graphs_are_predicted_as_those_trained_on_are_read(script, tmp_path):
    folder = tmp_path / "TOY"
    folder.mkdir()

    def write(labels, classes, edge_labels):
        size = len(labels)
        chains = [
            (3 * i + a, 3 * i + b) for i in range(size // 3) for a, b in ((1, 2), (2, 1), (2, 3), (3, 2))
        ]
        texts = {
            "graph_indicator": [i // 3 + 1 for i in range(size)],
            "node_labels": labels,
            "A": [f"{a}, {b}" for a, b in chains],
            "edge_labels": [edge_labels[i % len(edge_labels)] for i in range(len(chains))],
            "graph_labels": classes,
        }
        for part, lines in texts.items():
            (folder / f"TOY_{part}.txt").write_text("".join(f"{line}\n" for line in lines))

    write([7 if i // 3 % 2 and i % 3 == 0 else 4 for i in range(90)], [i % 2 for i in range(30)], [1, 2, 5])
    data = ("--task", "graph", "--data.source", "tu", "--data.root", str(folder), "--data.batch-size", "10")
    small = (
        "--model.name",
        "gat",
        "--model.layers",
        "1",
        "--model.heads",
        "2",
        "--optimizer.learning-rate",
        "0.1",
    )
    assert script.main(options(tmp_path, "a", *data, *small, steps=30)) == 0
    assert json.loads((tmp_path / "a" / "scores.json").read_text())["accuracy"] == 1
    write([4, 4, 4, 7, 4, 4, 4, 4, 4], [], [5])  # without a class, without edges of kinds 1 and 2
    (folder / "TOY_graph_labels.txt").unlink()
    found = predict(script, tmp_path / "a", tmp_path / "out", "--root", str(folder))
    assert [(row["id"], row["prediction"]) for row in found] == [("0", "0"), ("1", "1"), ("2", "0")]
    write([4, 4, 9], [], [5])
    with pytest.raises(ValueError, match=r"node_labels\.txt, line 3: a label that is none of 4, 7"):
        predict(script, tmp_path / "a", tmp_path / "out", "--root", str(folder))


def test_seeds_need_nodes_to_test_on_and_patience_some_to_validate_on(script, tmp_path):
    data = write_csv(tmp_path / "own", splits=("train", "val"))
    with pytest.raises(ValueError, match="--seeds: the data has no nodes to test on"):
        script.main(options(tmp_path, "a", *data, "--seeds", "2", steps=2))
    data = write_csv(tmp_path / "own", splits=("train", "test"))
    with pytest.raises(ValueError, match=r"--run\.patience: the data has no nodes to validate on"):
        script.main(options(tmp_path, "a", *data, "--seeds", "2", "--run.patience", "3", steps=2))
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("option", ["--model.hidden", "--data.fan-out", "--data.batch-size"])
def test_options_out_of_range_are_named(script, capsys, option):
    with pytest.raises(SystemExit):
        script.main([option, "0"])
    assert f"{option}: got" in capsys.readouterr().err


def test_a_resumed_run_may_not_change(script, nodes):
    with pytest.raises(ValueError, match="this would be another run"):
        script.main(["--resume", str(nodes), "--model.dropout", "0.1"])
