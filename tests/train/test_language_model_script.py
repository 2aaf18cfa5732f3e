"""The script from end to end on a text of a few words."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxvision.data import Vocabulary
from jaxvision.training import read_json_lines
from jaxvision.weights import read_weights

SCRIPT = Path(__file__).parents[2] / "train" / "language_model.py"
TINY = [
    *("--model.features", "8", "--model.layers", "1", "--model.dropout", "0.2", "--model.init-scale", "0.3"),
    *("--data.source", "files", "--data.batch-size", "4", "--data.window", "5"),
    *("--run.log-every", "2", "--run.eval-every", "4", "--run.checkpoint-every", "2"),
    *("--run.devices", "1", "--run.no-compilation-cache", "--optimizer.learning-rate", "0.02"),
]


@pytest.fixture(scope="module")
def script():
    specification = importlib.util.spec_from_file_location("language_model_script", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    rng = np.random.default_rng(0)
    lines = [f"the {rng.choice(['cat', 'dog'])} {rng.choice(['sat', 'ran'])} here" for _ in range(60)]
    path.write_text("\n".join(lines))
    return path


def _options(text, folder, name, *more, steps=8):
    run = ("--run.folder", str(folder), "--run.name", name, "--run.steps", str(steps))
    return [*TINY, "--data.paths", str(text), *run, *more]


@pytest.fixture(scope="module")
def run(script, text, tmp_path_factory):
    """A finished run of 8 steps; an epoch has 11."""
    folder = tmp_path_factory.mktemp("runs")
    assert script.main(_options(text, folder, "a")) == 0
    return folder / "a"


def test_a_run_leaves_everything_behind(run):
    assert {path.name for path in run.iterdir()} == {
        *("config.json", "metrics.jsonl", "events", "checkpoints", "weights.safetensors"),
        *("scores.json", "vocabulary.txt", "curves.png"),
    }
    records = read_json_lines(run / "metrics.jsonl")
    assert [r["step"] for r in records if r["kind"] == "evaluate"] == [4, 8]
    assert all(r["tokens_per_second"] > 0 for r in records if r["kind"] == "train")
    scores = json.loads((run / "scores.json").read_text())
    for part in ("validation", "test"):
        assert scores[f"{part}_perplexity"] == pytest.approx(np.exp(scores[f"{part}_loss"]))
        assert 1 < scores[f"{part}_perplexity"] < 8
    assert records[-1]["perplexity"] == scores["validation_perplexity"]
    assert Vocabulary.load(run / "vocabulary.txt").tokens[:4] == ("<unk>", "<eos>", "here", "the")
    with Image.open(run / "curves.png") as image:
        assert min(image.size) > 200
    assert set(read_weights(run / "weights.safetensors")) >= {
        "params/head/kernel",
        "params/embedding/embedding",
    }


def test_a_resumed_run_is_bit_equal(script, run, tmp_path):
    """The state between the windows is in the checkpoint: step 6 is in the middle of an epoch."""
    shutil.copytree(run, tmp_path / "b")
    shutil.rmtree(tmp_path / "b" / "checkpoints" / "8")
    assert script.main(["--resume", str(tmp_path / "b")]) == 0
    first, second = (read_weights(folder / "weights.safetensors") for folder in (run, tmp_path / "b"))
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert (run / "scores.json").read_text() == (tmp_path / "b" / "scores.json").read_text()


def test_a_resumed_run_refuses_another_vocabulary_and_another_text(script, run, text, tmp_path):
    shutil.copytree(run, tmp_path / "b")
    original = text.read_text()
    try:
        text.write_text(original.replace("cat", "cow"))
        with pytest.raises(ValueError, match=r"vocabulary.txt: the vocabulary of another model.*'cat' there"):
            script.main(["--resume", str(tmp_path / "b")])
        lines = original.split("\n")
        text.write_text("\n".join([lines[1], lines[0], *lines[2:]]))
        if lines[0] != lines[1]:
            with pytest.raises(ValueError, match=r"other text or batches.*checksum"):
                script.main(["--resume", str(tmp_path / "b")])
    finally:
        text.write_text(original)


def test_a_text_is_gone_on_with(script, run, capsys):
    command = [
        "sample",
        "--weights",
        str(run / "weights.safetensors"),
        "--length",
        "12",
        "--prompt",
        "the cat",
    ]
    assert script.main(command) == 0
    first = capsys.readouterr().out
    assert first.startswith("the cat ") and set(first.split()) <= {"the", "cat", "dog", "sat", "ran", "here"}
    assert script.main([*command, "--seed", "0", "--count", "2", "--top-k", "3"]) == 0
    assert capsys.readouterr().out.count("-" * 20) == 2
    assert (
        script.main(
            [
                "sample",
                "--weights",
                str(run / "weights.safetensors"),
                "--length",
                "3",
                "--prompt",
                "the zebra",
            ]
        )
        == 0
    )
    assert "not in the vocabulary, read as <unk>: 'zebra'" in capsys.readouterr().out
    with pytest.raises(ValueError, match="--count: got 0"):
        script.main([*command, "--count", "0"])


@pytest.mark.slow
def test_characters_epochs_tied_weights_and_another_cell(script, text, tmp_path, capsys):
    options = [
        *("--data.tokens", "characters", "--model.cell", "gru", "--model.tied", "--model.variational"),
        *("--model.recurrent-dropout", "0.1", "--epochs.total", "2", "--epochs.constant", "1"),
        *("--optimizer.name", "sgd", "--optimizer.learning-rate", "1", "--data.eval-batch-size", "1"),
    ]
    assert script.main(_options(text, tmp_path, "a", *options, "--data.window", "30")) == 0
    records = read_json_lines(tmp_path / "a" / "metrics.jsonl")
    assert [r["step"] for r in records if r["kind"] == "evaluate"] == [6, 12]
    assert [r["learning_rate"] for r in records if r["kind"] == "train"] == [1, 1, 1, 0.5, 0.5, 0.5]
    scores = json.loads((tmp_path / "a" / "scores.json").read_text())
    bits = scores["test_bits_per_character"]
    assert scores["test_perplexity"] == pytest.approx(2**bits)
    capsys.readouterr()
    weights = str(tmp_path / "a" / "weights.safetensors")
    assert script.main(["sample", "--weights", weights, "--length", "20", "--prompt", "the c"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("the c") and len(out) == 5 + 20 + 1


@pytest.mark.slow
def test_a_recipe_is_where_the_options_begin(script, text, tmp_path, capsys):
    options = _options(text, tmp_path, "a", "--epochs.total", "1", "--run.log-every", "1")
    assert script.main(["--recipe", "medium", *options, "--optimizer.learning-rate", "3"]) == 0
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    assert config["model"]["variant"] == "medium" and config["data"]["window"] == 5
    assert config["optimizer"]["clip_norm"] == pytest.approx(5 / 5), "the clip goes with the window"
    assert (config["optimizer"]["name"], config["optimizer"]["learning_rate"]) == ("sgd", 3)
    with pytest.raises(ValueError, match="--recipe: a run from --config or --resume has its options"):
        script.main(["--recipe", "small", "--resume", str(tmp_path / "a")])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--data.batch-size", "100"), "expected at least 501 for a batch of 100 rows of 5 tokens"),
        (("--model.variant", "tiny"), "unknown language model 'tiny'"),
        (("--model.tied", "--model.embedding-features", "4"), "tied weights score the 8 features"),
        (("--data.min-count", "0"), "min_count: got 0, expected 1 or more"),
        (("--data.eval-batch-size", "0"), "batch size in evaluation 0: expected 1 or more"),
    ],
)
def test_mistakes_are_named_before_anything_is_written(script, text, tmp_path, more, message):
    with pytest.raises(ValueError, match=message):
        script.main(_options(text, tmp_path, "a", *more))
    assert not list(tmp_path.iterdir())
