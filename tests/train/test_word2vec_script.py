"""The script from end to end, on a text of a few hundred words."""

import importlib.util
import json
import random
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from oracles.script_runs import run_all
from PIL import Image

from jaxvision.training import read_json_lines
from jaxvision.weights import read_variables, read_weights, read_word_vectors

SCRIPT = Path(__file__).parents[2] / "train" / "word2vec.py"
TOPICS = (("cat", "dog", "horse", "cow", "sheep"), ("red", "green", "blue", "black", "white"))
TINY = [
    *("--model.features", "8", "--train.batch-size", "32", "--train.chunk-size", "200"),
    *("--data.min-count", "1", "--train.subsample", "None", "--report.map-words", "5"),
    *("--run.log-every", "2", "--run.checkpoint-every", "2", "--run.devices", "1"),
    "--run.no-compilation-cache",
]


@pytest.fixture(scope="module")
def script():
    specification = importlib.util.spec_from_file_location("word2vec_script", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """Two files: sentences about animals, and about colours."""
    rng = random.Random(0)
    folder = tmp_path_factory.mktemp("text")
    for name, words in zip(("animals", "colours"), TOPICS, strict=True):
        lines = [" ".join(rng.choices(words, k=8)) + "." for _ in range(40)]
        (folder / f"{name}.txt").write_text("\n".join(lines))
    return folder


def _options(folder, name, text, *more, steps=6):
    data = ["--data.source", "files", "--data.paths", str(text)]
    run = ["--run.folder", str(folder), "--run.name", name, "--run.steps", str(steps)]
    return [*TINY, *data, *run, *more]


@pytest.fixture(scope="module")
def run(script, text, tmp_path_factory):
    """A finished run of six steps."""
    folder = tmp_path_factory.mktemp("runs")
    pairs = folder / "pairs.tsv"
    pairs.write_text("cat\tdog\t9\ncat\tred\t1\nred\tblue\t8\n")
    more = ["--report.similarity", str(pairs), "--run.eval-every", "4"]
    assert script.main(_options(folder, "a", text, *more)) == 0
    return folder / "a"


def test_a_run_leaves_everything_behind(run):
    assert {path.name for path in run.iterdir()} == {
        *("config.json", "metrics.jsonl", "events", "checkpoints", "curves.png", "scores.json"),
        *("weights.safetensors", "vocabulary.txt", "vectors.txt", "vectors.bin", "neighbours.csv", "map.png"),
    }
    records = read_json_lines(run / "metrics.jsonl")
    trained = [record for record in records if record["kind"] == "train"]
    assert [record["step"] for record in trained] == [2, 4, 6]
    assert all(record["words_per_second"] > 0 for record in trained)
    assert [record["step"] for record in records if record["kind"] == "evaluate"] == [4, 6]
    scores = json.loads((run / "scores.json").read_text())
    assert scores["words"] == 640 and scores["different_words"] == 10 and scores["similarity_pairs"] == 3
    found = read_word_vectors(run / "vectors.bin")
    assert set(found.words) == {*TOPICS[0], *TOPICS[1]} and found.vectors.shape == (10, 8)
    np.testing.assert_array_equal(
        read_variables(run / "weights.safetensors")["params"]["input"], found.vectors
    )
    for picture in ("curves.png", "map.png"):
        with Image.open(run / picture) as image:
            assert min(image.size) > 200


def test_a_resumed_run_is_bit_equal_and_logs_each_step_once(script, run, tmp_path):
    """A run that stopped after its second checkpoint, of step 4, makes steps 5 and 6 as the whole one did."""
    shutil.copytree(run, tmp_path / "b")
    shutil.rmtree(tmp_path / "b" / "checkpoints" / "6")
    (tmp_path / "b" / "weights.safetensors").unlink()
    assert script.main(["--resume", str(tmp_path / "b")]) == 0
    first, second = (read_weights(folder / "weights.safetensors") for folder in (run, tmp_path / "b"))
    assert first and all(np.array_equal(first[name], second[name]) for name in first)
    steps = [r["step"] for r in read_json_lines(tmp_path / "b" / "metrics.jsonl") if r["kind"] == "train"]
    assert steps == [2, 4, 6]


def test_several_processes_are_refused_before_anything_is_read(script, monkeypatch):
    monkeypatch.setattr(script.training, "open_placement", lambda options: None)
    monkeypatch.setattr("jax.process_count", lambda: 2)
    with pytest.raises(ValueError, match=r"train/word2vec\.py runs in one process, .* got 2"):
        script.prepare(script.Config(), None)


def test_a_text_of_another_vocabulary_is_refused_at_resume(script, run, text, tmp_path):
    shutil.copytree(run, tmp_path / "b")
    shutil.copytree(text, tmp_path / "text")
    config = json.loads((tmp_path / "b" / "config.json").read_text())
    config["data"]["paths"] = [str(tmp_path / "text")]
    (tmp_path / "b" / "config.json").write_text(json.dumps(config))
    (tmp_path / "text" / "animals.txt").write_text("zebra and gnu")
    with pytest.raises(ValueError, match="the vocabulary of another model: 10 tokens there, 8 here"):
        script.main(["--resume", str(tmp_path / "b")])
    with pytest.raises(ValueError, match=r"another run:\n  model\.features"):
        script.main(["--resume", str(run), "--model.features", "9"])


def test_another_text_of_the_same_words_is_refused_at_resume(script, run, text, tmp_path):
    shutil.copytree(run, tmp_path / "b")
    shutil.copytree(text, tmp_path / "text")
    config = json.loads((tmp_path / "b" / "config.json").read_text())
    config["data"]["paths"] = [str(tmp_path / "text")]
    (tmp_path / "b" / "config.json").write_text(json.dumps(config))
    lines = (text / "animals.txt").read_text().splitlines()
    (tmp_path / "text" / "animals.txt").write_text("\n".join(reversed(lines)))
    with pytest.raises(ValueError, match=r"belongs to other chunks \(checksum"):
        script.main(["--resume", str(tmp_path / "b")])


@pytest.mark.parametrize(
    ("content", "more", "message"),
    [
        (b"word word word word word word", [], r"1 different word\(s\) often enough, expected 2 or more"),
        (b"", [], "no token in 1 document"),
        (b"caf\xe9 caf\xe9", [], "byte 0xe9 at offset 3 .* is not UTF-8; give its encoding"),
        (b"a b c d", ["--data.min-count", "3"], "comes min_count = 3 times or more"),
        (b"a b a b", ["--report.words", "zebra"], "'zebra', is not in the vocabulary"),
        (b"a b a b", ["--train.subsample", "-1"], "subsample: got -1.0"),
        (
            b"a b a b",
            ["--model.loss", "hierarchical", "--model.negatives", "9"],
            "--model.negatives: got 9, which is not read beside --model.loss hierarchical",
        ),
        (b"a b a b", ["--report.analogies", "absent.txt"], r"absent\.txt"),
        (b"a b a b", ["--report.analogies", str(SCRIPT)], "expected four words, or ': '"),
        (b"a b a b", ["--report.similarity", "absent.tsv"], r"absent\.tsv"),
        (b"a b a b", ["--report.similarity", str(SCRIPT)], "expected two words and a number"),
    ],
)
def test_what_cannot_be_learned_is_said_before_a_folder_is_made(script, tmp_path, content, more, message):
    (tmp_path / "text.txt").write_bytes(content)
    with pytest.raises((ValueError, OSError), match=message):
        script.main(_options(tmp_path / "runs", "x", tmp_path / "text.txt", *more))
    assert not (tmp_path / "runs" / "x").exists()


def test_neighbours_and_analogies_from_a_file(script, run, tmp_path, capsys):
    vectors = ["--vectors", str(run / "vectors.txt")]
    assert script.main(["neighbours", *vectors, "--top", "3", "cat", "red"]) == 0
    shown = capsys.readouterr().out
    assert "cat" in shown and "cosine" in shown
    assert script.main(["neighbours", *vectors, "--analogy", "--method", "mul", "cat", "dog", "red"]) == 0
    assert "cat is to dog as red is to" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(ValueError, match="neighbours: no word to ask for"):
        script.main(["neighbours", *vectors])
    with pytest.raises(ValueError, match="expected three words, A B C, got 2"):
        script.main(["neighbours", *vectors, "--analogy", "cat", "dog"])
    with pytest.raises(ValueError, match=r"'kat' is not in the vocabulary.*did you mean 'cat'"):
        script.main(["neighbours", *vectors, "kat"])
    (tmp_path / "broken.bin").write_bytes((run / "vectors.bin").read_bytes()[:-9])
    with pytest.raises(ValueError, match="cut off in word 10 of 10"):
        script.main(["neighbours", "--vectors", str(tmp_path / "broken.bin"), "cat"])
    with pytest.raises(ValueError, match="skipgram has no vectors of documents"):
        script.main(["infer", "--run", str(run), str(run / "vocabulary.txt")])


@pytest.mark.parametrize("name", ["epochs", "top"])
def test_numbers_of_infer_must_be_positive(script, tmp_path, capsys, name):
    with pytest.raises(SystemExit):
        script.main(["infer", "--run", str(tmp_path), f"--{name}", "0", "new.txt"])
    assert f"--{name}: got 0, expected 1 or more" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("combine", ["mean", "concatenate"])
def test_vectors_of_new_documents(script, text, tmp_path, capsys, combine):
    more = [
        "--model.kind",
        "pv-dm",
        "--data.documents",
        "line",
        "--model.window",
        "2",
        "--model.combine",
        combine,
    ]
    assert script.main(_options(tmp_path, "d", text, *more, steps=80)) == 0
    documents = read_word_vectors(tmp_path / "d" / "documents.txt")
    assert len(documents.words) == 80 and documents.vectors.shape == (80, 8)
    new = tmp_path / "new"
    new.mkdir()
    (new / "a.txt").write_text("horse dog cat cow dog sheep horse dog\n")
    (new / "none.txt").write_text("nothing known\n")
    out = tmp_path / "out.txt"
    arguments = ["infer", "--run", str(tmp_path / "d"), "--out", str(out), "--epochs", "60", str(new)]
    assert script.main(arguments) == 0
    found = read_word_vectors(out)
    assert len(found.words) == 2 and found.vectors.shape == (2, 8)
    shown = capsys.readouterr().out
    assert "no word of it is in the run's vocabulary" in shown and "2 document(s)" in shown


@pytest.mark.slow
def test_items_of_baskets(script, tmp_path):
    rng = random.Random(1)
    lines = [" ".join(rng.sample(TOPICS[rng.randrange(2)], 3)) for _ in range(200)]
    (tmp_path / "baskets.txt").write_text("\n".join(lines))
    # Few items need small batches: one moves each item once, as far as the loss's curvature lets it.
    more = ["--model.kind", "item2vec", "--train.learning-rate", "0.1", "--train.batch-size", "16"]
    # The best product is the pair's information less log(negatives): with few, not all items point one way.
    more += ["--model.negatives", "2", "--run.log-every", "100", "--run.checkpoint-every", "1500"]
    assert script.main(_options(tmp_path, "i", tmp_path / "baskets.txt", *more, steps=1500)) == 0
    found = read_word_vectors(tmp_path / "i" / "vectors.bin")
    unit = found.vectors / np.linalg.norm(found.vectors, axis=1, keepdims=True)
    animal = np.array([word in TOPICS[0] for word in found.words])
    similar = unit @ unit.T
    assert similar[animal][:, animal].mean() - similar[animal][:, ~animal].mean() > 0.3


@pytest.mark.slow
def test_pv_dbow_with_a_tree_has_documents_alone(script, text, tmp_path):
    more = ["--model.kind", "pv-dbow", "--model.loss", "hierarchical"]
    assert script.main(_options(tmp_path, "d", text, *more, steps=2)) == 0
    assert (tmp_path / "d" / "documents.txt").exists() and not (tmp_path / "d" / "vectors.bin").exists()
    assert json.loads((tmp_path / "d" / "scores.json").read_text())["documents"] == 2


@pytest.mark.slow
def test_eight_devices_give_the_vectors_of_one(text, tmp_path):
    eight = ["--run.devices", "8", "--run.parallel"]
    runs = {"one": [], "jit": [*eight, "jit"], "pmap": [*eight, "pmap"]}
    run_all("word2vec.py", [_options(tmp_path, name, text, *more, steps=4) for name, more in runs.items()])
    one, *found = (read_word_vectors(tmp_path / name / "vectors.bin").vectors for name in runs)
    for vectors in found:
        np.testing.assert_allclose(vectors, one, rtol=1e-4, atol=1e-6)
