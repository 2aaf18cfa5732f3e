"""The scripts of text classification, tagging and recognition from end to end, on tiny data and networks."""

import csv
import importlib.util
import json
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import tyro
from PIL import Image

from jaxvision.training import read_json_lines
from jaxvision.weights import read_metadata, read_variables, read_weights, write_word_vectors

TRAIN = Path(__file__).parents[2] / "train"
RUN = [
    *("--data.batch-size", "8", "--optimizer.warmup-steps", "0", "--run.steps", "4"),
    *("--run.log-every", "1", "--run.eval-every", "2", "--run.checkpoint-every", "2"),
    *("--run.devices", "1", "--run.no-compilation-cache"),
]
WORDS = {
    "fruit": ["apple", "pear", "plum", "cherry", "ripe", "sweet"],
    "tool": ["hammer", "saw", "nail", "drill", "oily", "iron"],
}


def load(name):
    specification = importlib.util.spec_from_file_location(f"{name}_script", TRAIN / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def classify():
    return load("text_classification")


@pytest.fixture(scope="module")
def tag():
    return load("sequence_tagging")


@pytest.fixture(scope="module")
def read():
    return load("text_recognition")


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_texts(path, count=60, classes=WORDS):
    rng = np.random.default_rng(0)
    delimiter = "\t" if path.suffix == ".tsv" else ","
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(["text", "label"])
        for index in range(count):
            label = list(classes)[index % len(classes)]
            writer.writerow([" ".join(rng.choice(classes[label], 1 + index % 7)), label])
    return path


def resume_is_equal(script, run, again):
    """Takes away the last checkpoint and goes on; the weights and scores are the same to the bit."""
    shutil.copytree(run, again)
    shutil.rmtree(again / "checkpoints" / "4")
    assert script.main(["--resume", str(again)]) == 0
    first, second = (read_weights(folder / "weights.safetensors") for folder in (run, again))
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert (run / "scores.json").read_text() == (again / "scores.json").read_text()


@pytest.mark.parametrize(
    ("script", "path", "text"),
    [
        ("classify", "letters", "Return the head of the queue without removing it."),
        ("tag", "program.py", "print('a # b')  # note"),
    ],
)
def test_the_line_that_shows_how_to_predict_means_what_it_says(request, script, path, text):
    module = request.getfixturevalue(script)
    lines = module.__doc__.replace("\\\n", "").splitlines()
    (line,) = [line for line in lines if f"{module.PROGRAM} predict" in line]
    config = tyro.cli(module.PredictConfig, args=shlex.split(line)[3:])
    assert config.paths == (Path(path),) and config.text == (text,)


# ---- text classification

LEARN = [
    *("--run.steps", "60", "--run.eval-every", "60", "--run.log-every", "60", "--model.dropout", "0"),
    *("--optimizer.learning-rate", "0.1"),
]
TEXT = ["--data.max-length", "5", "--data.min-count", "1", "--model.embedding", "4"]
SMALL = ("--model.features", "3")


def text_options(folder, name, root, *more):
    options = ["--data.source", "csv", "--data.root", str(root), *TEXT, *RUN]
    return [*options, "--run.folder", str(folder), "--run.name", name, *more]


@pytest.fixture(scope="module")
def texts(classify, tmp_path_factory):
    """A finished run, and the table it was trained on."""
    folder = tmp_path_factory.mktemp("texts")
    root = write_texts(folder / "texts.tsv")
    assert classify.main(text_options(folder, "a", root, *LEARN)) == 0
    return folder / "a", root


def test_a_text_run_learns_and_leaves_everything_behind(texts):
    run, _ = texts
    names = {path.name for path in run.iterdir()}
    assert names >= {"config.json", "vocabulary.txt", "weights.safetensors", "metrics.jsonl", "curves.png"}
    assert names >= {"scores.json", "classes.csv", "confusion.png", "reliability.png"}
    assert json.loads((run / "scores.json").read_text())["accuracy"] > 0.9
    rows = rows_of(run / "classes.csv")
    assert [row["class"] for row in rows] == ["fruit", "tool"]
    assert {"true_texts", "predicted_texts"} <= set(rows[0])
    metadata = read_metadata(run / "weights.safetensors")
    assert json.loads(metadata["vocabulary"])[:2] == ["<pad>", "<unk>"]
    record = read_json_lines(run / "metrics.jsonl")[0]
    assert record["texts_per_second"] > 0


def test_texts_and_files_are_classified(classify, texts, tmp_path, capsys):
    run, _ = texts
    (tmp_path / "a.txt").write_text("A sweet plum, a cherry.\nan oily saw, a nail\n", encoding="utf-8")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe broken")
    command = ["predict", "--weights", str(run / "weights.safetensors"), "--out", str(tmp_path / "out")]
    more = ["--by", "line", "--batch-size", "2", "--text", "hammer drill " * 9, "zebra"]
    assert classify.main([*command, str(tmp_path / "a.txt"), str(tmp_path / "b.txt"), *more]) == 1
    shown = capsys.readouterr()
    assert "b.txt: byte 0xff at offset 0 (line 1) is not UTF-8" in shown.err
    assert "4 texts, 1 of them cut" in shown.out
    rows = rows_of(tmp_path / "out" / "predictions.csv")
    assert [row["class1"] for row in rows if row["text"] != "zebra"] == ["tool", "fruit", "tool"]
    assert all(0.5 <= float(row["probability1"]) <= 1 for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        ("--model.cell", "lstm", "--model.pooling", "last", "--model.dropout", "0.5", *SMALL),
        ("--model.cell", "gru", "--model.pooling", "attention", "--optimizer.ema", "0.9", *SMALL),
    ],
)
def test_a_resumed_text_run_is_bit_equal(classify, texts, tmp_path, more):
    assert classify.main(text_options(tmp_path, "a", texts[1], *more)) == 0
    resume_is_equal(classify, tmp_path / "a", tmp_path / "b")


def test_vectors_of_a_file_are_frozen_or_tuned(classify, texts, tmp_path, capsys):
    vectors = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_word_vectors(tmp_path / "v.txt", ["apple", "saw"], vectors)
    options = ["--model.vectors", str(tmp_path / "v.txt"), "--model.freeze-vectors"]
    arguments = text_options(tmp_path, "frozen", texts[1], *options)
    place = arguments.index("--model.embedding")
    del arguments[place : place + 2]
    assert classify.main(arguments) == 0
    assert "v.txt: vectors of 2 of 14 tokens" in capsys.readouterr().out
    run = tmp_path / "frozen"
    table = read_variables(run / "weights.safetensors")["params"]["embedding"]["embedding"]
    tokens = json.loads(read_metadata(run / "weights.safetensors")["vocabulary"])
    np.testing.assert_array_equal(table[tokens.index("apple")], vectors[0])
    np.testing.assert_array_equal(table[tokens.index("saw")], vectors[1])
    assert not table[0].any() and np.unique(table, axis=0).shape[0] == len(tokens)
    (tmp_path / "v.txt").unlink()  # the checkpoint has them
    resume_is_equal(classify, run, tmp_path / "again")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--model.pooling", "last"], "'last' is the last state of a recurrent network"),
        (["--model.features", "3"], "--model.features: got 3, which is not read beside --model.cell none"),
        (["--model.layers", "2"], "--model.layers: got 2, which is not read beside --model.cell none"),
        (["--model.no-bidirectional"], "--model.bidirectional: got False, which is not read"),
        (["--model.vectors-format", "glove"], "--model.vectors-format: got glove, which is not read"),
        (["--model.freeze-vectors"], "there are none; give --model.vectors FILE"),
        (["--model.vectors", "absent.txt"], r"absent\.txt: no such file of word vectors"),
        (["--data.root", "absent.csv"], r"absent\.csv: no such file"),
        (["--data.columns", "words", "label"], "no column 'words'"),
        (["--data.min-count", "1000"], "none of 12 different tokens comes min_count = 1000 times"),
        (["--data.max-length", "0"], "length: got 0, expected at least 1 step"),
        (["--data.batch-size", "500"], "batch_size: got 500 for"),
        (["--loss.label-smoothing", "2"], "label-smoothing"),
        (["--data.source", "folder"], "no such folder|expected"),
    ],
)
def test_mistakes_with_texts_are_named_and_leave_no_folder(classify, texts, tmp_path, more, message):
    with pytest.raises((ValueError, OSError), match=message):
        classify.main(text_options(tmp_path, "wrong", texts[1], *more))
    assert not (tmp_path / "wrong").exists()


def test_another_vocabulary_at_resume_is_refused(classify, texts, tmp_path):
    run, root = texts
    shutil.copytree(run, tmp_path / "b")
    vocabulary = tmp_path / "b" / "vocabulary.txt"
    vocabulary.write_text(vocabulary.read_text().replace("plum", "plume"))
    with pytest.raises(ValueError, match="the vocabulary of another model: 14 tokens there, 14 here"):
        classify.main(["--resume", str(tmp_path / "b"), "--run.steps", "70"])
    assert root.exists()


def test_nothing_to_classify(classify, texts):
    weights = str(texts[0] / "weights.safetensors")
    with pytest.raises(ValueError, match="nothing to predict"):
        classify.main(["predict", "--weights", weights])
    with pytest.raises(ValueError, match="got an empty text"):
        classify.main(["predict", "--weights", weights, "--text", " "])


# ---- tagging


def write_conll(path, count=40):
    rng, lines = np.random.default_rng(0), ["-DOCSTART- -X- O\n\n"]
    for _ in range(count):
        for _ in range(rng.integers(1, 6)):
            word, tag = [("Anna", "B-PER"), ("Bell", "I-PER"), ("Rome", "B-LOC"), ("sees", "O")][
                rng.integers(4)
            ]
            lines.append(f"{word} NN {tag}\n")
        lines.append("\n")
    path.write_text("".join(lines), encoding="utf-8")
    return path


def tag_options(folder, name, root, *more):
    options = ["--data.source", "conll", "--data.root", str(root), "--data.max-length", "4", *RUN]
    net = ["--model.embedding", "4", "--model.features", "3", "--data.letters", "3"]
    return [*options, *net, "--run.folder", str(folder), "--run.name", name, *more]


@pytest.fixture(scope="module")
def tagged(tag, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tags")
    root = write_conll(folder / "names.conll")
    more = ("--model.characters", "--model.character-features", "2", "--data.test-share", "0.3")
    assert tag.main(tag_options(folder, "a", root, *more)) == 0
    return folder / "a", root


def test_a_tagging_run_leaves_everything_behind_and_tags(tag, tagged, tmp_path):
    run, _ = tagged
    names = {path.name for path in run.iterdir()}
    assert names >= {"vocabulary.txt", "tags.txt", "characters.txt", "spans.csv", "tags.csv", "confusion.png"}
    scores = json.loads((run / "scores.json").read_text())
    assert 0 <= scores["span_f1"] <= 1 and 0 <= scores["accuracy"] <= 1
    assert [row["class"] for row in rows_of(run / "spans.csv")] == ["LOC", "PER"]
    assert (run / "tags.txt").read_text().split()[::2] == ["O", "B-LOC", "B-PER", "I-PER"]
    command = ["predict", "--weights", str(run / "weights.safetensors"), "--out", str(tmp_path)]
    assert tag.main([*command, "--text", "Anna Bell sees Rome and more", "Rome"]) == 0
    sentences = (tmp_path / "tags.conll").read_text().strip().split("\n\n")
    assert [[line.split("\t")[0] for line in text.split("\n")] for text in sentences] == [
        ["Anna", "Bell", "sees", "Rome", "and", "more"],
        ["Rome"],
    ]


@pytest.mark.slow
def test_a_resumed_tagging_run_is_bit_equal(tag, tagged, tmp_path):
    resume_is_equal(tag, tagged[0], tmp_path / "b")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--data.columns", "0", "7"], "line 3: .* has 3 columns, expected at least 8"),
        (["--data.val-share", "0.001"], "leaves a part empty"),
        (["--data.root", "absent"], "absent: no such text file"),
        (["--data.min-count", "9999"], "lower min_count"),
    ],
)
def test_mistakes_with_tags_are_named_and_leave_no_folder(tag, tagged, tmp_path, more, message):
    with pytest.raises((ValueError, OSError), match=message):
        tag.main(tag_options(tmp_path, "wrong", tagged[1], *more))
    assert not (tmp_path / "wrong").exists()


def test_a_width_of_characters_needs_characters(tag):
    with pytest.raises(ValueError, match=r"--model\.character-features: got 3, which is not read without"):
        tag.ModelOptions(character_features=3)


def test_a_tagging_run_goes_on_without_its_file_of_vectors(tag, tagged, tmp_path):
    write_word_vectors(tmp_path / "v.txt", ["anna", "rome"], np.ones((2, 3), np.float32))
    arguments = tag_options(tmp_path, "a", tagged[1], "--model.vectors", str(tmp_path / "v.txt"))
    place = arguments.index("--model.embedding")
    del arguments[place : place + 2]
    assert tag.main(arguments) == 0
    (tmp_path / "v.txt").unlink()
    resume_is_equal(tag, tmp_path / "a", tmp_path / "b")
    shutil.rmtree(tmp_path / "b" / "checkpoints")
    with pytest.raises(FileNotFoundError, match=r"v\.txt: no such file of word vectors"):
        tag.main(["--resume", str(tmp_path / "b")])


# ---- recognition


def read_options(folder, name, root, *more):
    options = ["--data.source", "csv", "--data.root", str(root), "--data.width", "36", *RUN]
    net = ["--model.features", "2", "2", "3", "3", "4", "4", "4", "--model.hidden", "3"]
    return [*options, *net, "--run.folder", str(folder), "--run.name", name, *more]


def write_words(folder, texts=("ab", "ba", "a", "bb"), count=24):
    rng = np.random.default_rng(0)
    lines = ["image,text"]
    for index in range(count):
        image = rng.integers(0, 256, (9 + index % 5, 11 + index, 3), dtype=np.uint8)
        Image.fromarray(image).save(folder / f"{index}.png")
        lines.append(f"{index}.png,{texts[index % len(texts)]}")
    (folder / "words.csv").write_text("\n".join(lines))
    return folder / "words.csv"


@pytest.fixture(scope="module")
def words(read, tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    root = write_words(folder)
    assert read.main(read_options(folder, "a", root, "--report.beam-size", "3")) == 0
    return folder / "a", root


def test_a_recognition_run_leaves_everything_behind_and_reads(read, words, tmp_path):
    run, root = words
    names = {path.name for path in run.iterdir()}
    assert names >= {"vocabulary.txt", "lengths.csv", "readings.csv", "readings.png", "mistakes.png"}
    scores = json.loads((run / "scores.json").read_text())
    assert set(scores) == {
        f"{prefix}{name}" for prefix in ("", "beam_") for name in ("accuracy", "character_error_rate")
    }
    assert json.loads(read_metadata(run / "weights.safetensors")["alphabet"]) == "ab"
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    command = ["predict", "--weights", str(run / "weights.safetensors"), "--out", str(tmp_path / "out")]
    pictures = [str(root.parent / "0.png"), str(root.parent / "7.png"), str(broken)]
    for beam in ("1", "4"):
        assert read.main([*command, *pictures, "--beam-size", beam, "--batch-size", "2"]) == 1
        rows = rows_of(tmp_path / "out" / "readings.csv")
        assert [Path(row["image"]).name for row in rows] == ["0.png", "7.png"]
        assert all(set(row["text"]) <= {"a", "b"} and float(row["log_probability"]) <= 0 for row in rows)
    with Image.open(tmp_path / "out" / "readings.png") as sheet:
        assert sheet.width > 400


@pytest.mark.slow
def test_a_resumed_recognition_run_is_bit_equal(read, words, tmp_path):
    resume_is_equal(read, words[0], tmp_path / "b")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--data.alphabet", "a"], "says 'ab': 'b' is not in the alphabet 'a'; add it by --data.alphabet"),
        (["--data.width", "12"], r"says 'bb': its 2 characters need 3 columns .* raise --data.width to 16"),
        (["--data.width", "4"], "--data.width: got 4, expected at least 8 pixels"),
        (["--data.alphabet", "aab"], "'?a'? twice"),
        (["--data.val-share", "0.001"], "leaves a part empty"),
        (["--data.root", "absent.csv"], "no such file"),
    ],
)
def test_mistakes_with_words_are_named_and_leave_no_folder(read, words, tmp_path, more, message):
    with pytest.raises((ValueError, OSError), match=message):
        read.main(read_options(tmp_path, "wrong", words[1], *more))
    assert not (tmp_path / "wrong").exists()


def test_another_alphabet_at_resume_is_refused(read, words, tmp_path):
    shutil.copytree(words[0], tmp_path / "b")
    (tmp_path / "b" / "vocabulary.txt").write_text("<blank>\t0\na\t0\nc\t0\n")
    with pytest.raises(ValueError, match="the vocabulary of another model"):
        read.main(["--resume", str(tmp_path / "b"), "--run.steps", "8"])
