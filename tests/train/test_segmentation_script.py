"""The script from end to end, on networks and data so small that the compiler takes most of the time."""

import csv
import functools
import importlib.util
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from oracles.annotation_files import write_labelme
from oracles.network_cases import seeded_state_dict
from PIL import Image

from jaxvision import zoo
from jaxvision.tasks import segmentation_predict, segmentation_task
from jaxvision.training import CheckpointError, parse_command, read_json_lines
from jaxvision.weights import (
    Preprocessing,
    preprocessing_to_dict,
    read_preprocessing,
    read_variables,
    read_weights,
    to_state_dict,
    write_safetensors,
)
from jaxvision.weights import read_metadata as weights_metadata

SCRIPT = Path(__file__).parents[2] / "train" / "segmentation.py"
TINY = [
    *("--model.features", "4", "8", "--data.size", "32", "32", "--data.batch-size", "8"),
    *("--data.train-scenes", "64", "--data.eval-scenes", "10"),
    *(
        "--optimizer.warmup-steps",
        "0",
        "--run.log-every",
        "2",
        "--run.eval-every",
        "4",
        "--run.checkpoint-every",
        "2",
    ),
    *("--run.devices", "1", "--run.no-compilation-cache"),
]

ONE_DEVICE = ("--devices", "1", "--no-compilation-cache")


@pytest.fixture(scope="module")
def script():
    specification = importlib.util.spec_from_file_location("segmentation_script", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


def _options(folder, name, *more, steps=6):
    return [*TINY, "--run.folder", str(folder), "--run.name", name, "--run.steps", str(steps), *more]


def _child(*arguments):
    environment = {**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )


@pytest.fixture(scope="module")
def run(script, tmp_path_factory):
    """A finished run of six steps."""
    folder = tmp_path_factory.mktemp("runs")
    assert script.main(_options(folder, "a")) == 0
    return folder / "a"


def test_a_run_leaves_everything_behind(run):
    assert {path.name for path in run.iterdir()} == {
        *("config.json", "metrics.jsonl", "events", "checkpoints", "curves.png", "predictions.png"),
        *("classes.csv", "scores.json", "weights.safetensors", "confusion.png", "worst.png"),
    }
    records = read_json_lines(run / "metrics.jsonl")
    assert [r["step"] for r in records if r["kind"] == "train"] == [2, 4, 6]
    assert [r["step"] for r in records if r["kind"] == "evaluate"] == [4, 6]
    with (run / "classes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 11
    assert sum(int(row["true_pixels"]) for row in rows) == 10 * 32 * 32
    assert set(rows[0]) > {"class", "iou", "boundary_iou", "precision", "recall", "predicted_pixels"}
    scores = json.loads((run / "scores.json").read_text())
    assert 0 <= scores["mean_iou"] <= 1 and 0 <= scores["mean_boundary_iou"] <= 1
    for picture in ("curves.png", "predictions.png", "confusion.png", "worst.png"):
        with Image.open(run / picture) as image:
            assert min(image.size) > 200
    variables = read_variables(run / "weights.safetensors")
    assert variables["params"]["head"]["kernel"].shape == (1, 1, 4, 11)


@pytest.mark.slow
def test_a_run_repeats_from_its_configuration(script, run):
    again = run.parent / "again"
    arguments = ["--config", str(run / "config.json"), "--run.name", "again"]
    assert script.main(arguments) == 0
    first, second = (read_weights(folder / "weights.safetensors") for folder in (run, again))
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_a_resumed_run_is_bit_equal_and_logs_each_step_once(script, run, tmp_path):
    """A run that stopped after its second checkpoint, of step 4, makes steps 5 and 6 as the whole one did."""
    shutil.copytree(run, tmp_path / "b")
    shutil.rmtree(tmp_path / "b" / "checkpoints" / "6")
    (tmp_path / "b" / "weights.safetensors").unlink()
    assert script.main(["--resume", str(tmp_path / "b")]) == 0
    first, second = (read_weights(folder / "weights.safetensors") for folder in (run, tmp_path / "b"))
    assert all(np.array_equal(first[name], second[name]) for name in first)
    steps = [r["step"] for r in read_json_lines(tmp_path / "b" / "metrics.jsonl") if r["kind"] == "train"]
    assert steps == [2, 4, 6]


@pytest.mark.slow
def test_class_weights_by_a_rule_are_counted_anew_but_in_a_resumed_run(script, two_classes, tmp_path, capsys):
    data = ["--data.source", "folder", "--data.root", str(two_classes)]
    more = ["--loss.class-weights", "median", "--loss.class-weight-images", "12", "--loss.lovasz", "1"]
    assert script.main(_options(tmp_path, "w", *data, *more, steps=2)) == 0
    shown = capsys.readouterr().out
    assert "masks counted" in shown
    assert "class weights (median): sky " in shown

    def kept(name):
        loss = json.loads((tmp_path / name / "config.json").read_text())["loss"]
        assert loss["class_weights"] == "median"
        return loss["counted_weights"]

    before = kept("w")
    for path in (two_classes / "masks").iterdir():  # the data is another
        mask = np.zeros((32, 32), np.uint8)
        mask[:4] = 1
        Image.fromarray(mask).save(path)
    again = ["--config", str(tmp_path / "w" / "config.json"), "--run.name", "again"]
    assert script.main(again) == 0
    assert kept("again") != before
    assert kept("again")[0] < kept("again")[1]
    capsys.readouterr()
    assert script.main(["--resume", str(tmp_path / "w"), "--run.steps", "4"]) == 0
    assert kept("w") == before
    assert "masks counted" not in capsys.readouterr().out  # no mask is looked at
    weights = str(tmp_path / "w" / "weights.safetensors")
    assert script.main(["evaluate", "--weights", weights, "--out", str(tmp_path / "out"), *ONE_DEVICE]) == 0
    with pytest.raises(ValueError, match=r"another run:\n  loss\.class_weights: median -> log"):
        script.main(["--resume", str(tmp_path / "w"), "--loss.class-weights", "log"])


def test_an_evaluation_repeats_the_scores_of_the_run(script, run, tmp_path):
    weights, out = str(run / "weights.safetensors"), tmp_path / "out"
    assert script.main(["evaluate", "--weights", weights, "--out", str(out), *ONE_DEVICE]) == 0
    names = {"scores.json", "classes.csv", "confusion.png", "worst.png", "predictions.png"}
    assert {path.name for path in out.iterdir()} == names
    first, second = (json.loads((folder / "scores.json").read_text()) for folder in (run, out))
    assert second == pytest.approx(first, rel=1e-5)
    assert (out / "classes.csv").read_text() == (run / "classes.csv").read_text()


@pytest.mark.slow
def test_an_evaluation_of_other_data(script, run, two_classes, tmp_path, capsys):
    arguments = ["evaluate", "--weights", str(run / "weights.safetensors"), *ONE_DEVICE]
    more = ["--part", "val", "--data.eval-scenes", "3", "--report.worst", "0", "--report.no-boundary-iou"]
    assert script.main([*arguments, "--out", str(tmp_path / "val"), *more]) == 0
    assert not (tmp_path / "val" / "worst.png").exists()
    assert "mean_boundary_iou" not in json.loads((tmp_path / "val" / "scores.json").read_text())
    assert "3 val images" in " ".join(capsys.readouterr().out.split())
    data = ["--data.source", "folder", "--data.root", str(two_classes)]
    with pytest.raises(ValueError, match=r"a network of 11 classes .* but the data has 2 \(sky, ground\)"):
        script.main([*arguments, *data])
    names = "\n".join(f"class {index}" for index in range(11))
    (two_classes / "classes.txt").write_text(names)
    assert script.main([*arguments, *data, "--out", str(tmp_path / "other")]) == 0
    shown = capsys.readouterr().out
    assert "the classes were background, digit 0" in shown
    assert "the data has no test part: scored on val" in shown
    ours = json.loads(weights_metadata(run / "weights.safetensors")["class_names"])
    (two_classes / "classes.txt").write_text("\n".join(reversed(ours)))
    with pytest.raises(ValueError, match=r"give both one order"):
        script.main([*arguments, *data])
    with pytest.raises(SystemExit):
        script.main(["evaluate"])
    assert "--weights" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"not the weights\.safetensors of a run"):
        script.main(["evaluate", "--weights", str(run / "config.json")])


@pytest.fixture
def tall(two_classes):
    """The folder with images and masks twice as high, by rows of the second class; 10 and 11 are its val."""
    for path in [*two_classes.glob("images/*"), *two_classes.glob("masks/*")]:
        pixels = np.asarray(Image.open(path))
        more = np.ones_like(pixels) if pixels.ndim == 2 else 255 - pixels
        Image.fromarray(np.concatenate([pixels, more])).save(path)
    (two_classes / "val.txt").write_text("10\n11\n")
    (two_classes / "train.txt").write_text("\n".join(map(str, range(10))))
    return two_classes


@pytest.mark.slow
def test_whole_images_are_scored_as_predict_writes_them(script, tall, tmp_path):
    data = ("--data.source", "folder", "--data.root", str(tall))
    assert script.main(_options(tmp_path, "w", *data, steps=1)) == 0
    weights = ["--weights", str(tmp_path / "w" / "weights.safetensors")]
    files = [str(tall / "images" / f"{number}.png") for number in (10, 11)]
    truth = np.stack([np.asarray(Image.open(tall / "masks" / f"{n}.png")) for n in (10, 11)])
    for number, more in enumerate((["--flip"], ["--window", "16", "16"], ["--native-size"], ["--whole"])):
        out, masks = tmp_path / f"out{number}", tmp_path / f"masks{number}"
        assert script.main(["evaluate", *weights, *ONE_DEVICE, *more, "--out", str(out)]) == 0
        shown = [] if more == ["--whole"] else more
        assert script.main(["predict", *weights, *shown, "--out", str(masks), *files]) == 0
        found = np.stack([np.asarray(Image.open(masks / f"{n}_mask.png")) for n in (10, 11)])
        assert found.shape == (2, 64, 32)
        with (out / "classes.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        for index, row in enumerate(rows):
            met = ((truth == index) & (found == index)).sum()
            assert int(row["true_pixels"]) == (truth == index).sum()
            assert int(row["predicted_pixels"]) == (found == index).sum()
            union = ((truth == index) | (found == index)).sum()
            assert float(row["iou"]) == pytest.approx(met / union, abs=1e-6)
        assert "loss" not in json.loads((out / "scores.json").read_text())


@pytest.mark.slow
def test_a_run_on_crops_is_scored_on_whole_images(script, tall, tmp_path, capsys):
    arguments = _options(tmp_path, "c", steps=4)
    place = arguments.index("--data.size")
    arguments[place : place + 3] = ["--data.crop", "24", "16"]
    data = ("--data.source", "folder", "--data.root", str(tall))
    assert script.main([*arguments, *data]) == 0
    assert "on 10 images in crops of 24 x 16 (--data.crop), 1 device(s)" in capsys.readouterr().out
    with (tmp_path / "c" / "classes.csv").open(newline="") as file:
        assert sum(int(row["true_pixels"]) for row in csv.DictReader(file)) == 2 * 64 * 32
    weights, out = str(tmp_path / "c" / "weights.safetensors"), tmp_path / "out"
    assert script.main(["evaluate", "--weights", weights, "--out", str(out), *ONE_DEVICE]) == 0
    expected = (out / "classes.csv").read_text()
    assert expected == (tmp_path / "c" / "classes.csv").read_text()
    # The windows stay with other options, and in predict.
    assert read_preprocessing(Path(weights)).resize is None
    rows = {}
    for more in ("--whole", "--flip", "--native-size"):
        assert script.main(["evaluate", "--weights", weights, "--out", str(out), *ONE_DEVICE, more]) == 0
        rows[more] = (out / "classes.csv").read_text()
    assert rows["--whole"] == expected and expected not in (rows["--flip"], rows["--native-size"])
    images = [str(tall / "images" / f"{number}.png") for number in (10, 11)]
    assert script.main(["predict", "--weights", weights, "--out", str(out), *images]) == 0
    masks = [np.asarray(Image.open(out / f"{number}_mask.png")) for number in (10, 11)]
    assert masks[0].shape == (64, 32)
    found = [int(row["predicted_pixels"]) for row in csv.DictReader(expected.splitlines())]
    assert found == [(np.stack(masks) == index).sum() for index in range(2)]


@pytest.mark.slow
def test_an_evaluation_opens_no_part_but_the_one_it_scores(script, two_classes, tmp_path):
    data = ("--data.source", "folder", "--data.root", str(two_classes))
    for part, names in {"train": range(8), "val": range(8, 10), "test": range(10, 12)}.items():
        (two_classes / f"{part}.txt").write_text("\n".join(map(str, names)))
    assert script.main(_options(tmp_path, "w", *data, steps=1)) == 0
    (two_classes / "train.txt").write_text("absent")
    arguments = ["evaluate", "--weights", str(tmp_path / "w" / "weights.safetensors"), *ONE_DEVICE]
    assert script.main([*arguments, "--out", str(tmp_path / "out")]) == 0
    first, second = (json.loads((tmp_path / name / "scores.json").read_text()) for name in ("w", "out"))
    assert second == pytest.approx(first, rel=1e-5)
    with pytest.raises(ValueError, match="absent"):
        script.main([*arguments, "--part", "train", "--out", str(tmp_path / "out")])


@pytest.mark.slow
def test_images_are_normalised_as_the_starting_weights_expect(script, run, tmp_path, capsys, monkeypatch):
    """In training, in the run's file, in what it is resumed and scored with, and in prediction."""
    published = tmp_path / "published.safetensors"
    expected = Preprocessing((32, 32), 32, mean=(0.5, 0.25, 0.125), std=(0.5, 0.5, 0.25))
    before = run / "weights.safetensors"
    metadata = weights_metadata(before) | {"preprocessing": json.dumps(preprocessing_to_dict(expected))}
    write_safetensors(published, read_variables(before), metadata=metadata)
    frozen = ["--optimizer.learning-rate", "0", "--optimizer.schedule", "constant"]
    arguments = _options(tmp_path, "w", "--model.weights", str(published), *frozen, steps=2)
    assert script.main(arguments) == 0
    assert "--data.mean 0.5 0.25 0.125 --data.std 0.5 0.5 0.25" in capsys.readouterr().out
    kept = json.loads((tmp_path / "w" / "config.json").read_text())["data"]
    assert (kept["mean"], kept["std"]) == ([0.5, 0.25, 0.125], [0.5, 0.5, 0.25])
    weights = tmp_path / "w" / "weights.safetensors"
    assert read_preprocessing(weights) == expected
    published.unlink()
    assert script.main(["--resume", str(tmp_path / "w"), "--run.steps", "3"]) == 0
    assert read_preprocessing(weights) == expected
    # A run that starts from the weights of this one sees images as they did.
    fields = {"num_classes": 11, "features": (4, 8), "dropout_rate": 0.0}
    *_, seen_by, line = zoo.starting_variables("unet_bn", fields, str(weights), None, key=jax.random.key(0))
    assert (seen_by, line) == (expected, "")
    # What it is scored with, and what it sees of a file.
    out = ["--out", str(tmp_path / "out")]
    assert script.main(["evaluate", "--weights", str(weights), *out, *ONE_DEVICE]) == 0
    first, second = (json.loads((tmp_path / name / "scores.json").read_text()) for name in ("w", "out"))
    assert second == pytest.approx(first, rel=1e-5)
    Image.fromarray(np.full((32, 32, 3), 255, np.uint8)).save(tmp_path / "white.png")
    seen = []
    original = segmentation_predict.Segmenter

    def noted(score, prepare, *rest, **more):
        seen.append(prepare)
        return original(score, prepare, *rest, **more)

    monkeypatch.setattr(segmentation_predict, "Segmenter", noted)
    assert script.main(["predict", "--weights", str(weights), *out, str(tmp_path / "white.png")]) == 0
    pixel = seen[0](np.full((32, 32, 3), 255, np.uint8))[0, 0]
    np.testing.assert_allclose(pixel, [1.0, 1.5, 3.5], rtol=1e-5)


@pytest.mark.slow
def test_other_fields_of_the_network_are_set_and_kept(script, tmp_path):
    """Deep supervision of a UNet++ has heads of its own, which training, scoring and predicting need."""
    narrow = "backbone={'features': (4, 4, 6, 6), 'stem_features': 4}"
    fields = ["--model.name", "unetplusplus_resnet18", "--model.set", "deep_supervision=True", narrow]
    fields += ["features=(4, 4, 4, 4, 4)"]
    assert script.main(_options(tmp_path, "w", *fields, "--data.eval-scenes", "2", steps=2)) == 0
    records = read_json_lines(tmp_path / "w" / "metrics.jsonl")
    assert "auxiliary_dice" in records[0]
    weights = tmp_path / "w" / "weights.safetensors"
    assert {f"aux_head{branch}" for branch in (1, 2, 3)} < set(read_variables(weights)["params"])
    config = json.loads((tmp_path / "w" / "config.json").read_text())
    assert config["model"]["set"] == ["deep_supervision=True", narrow, "features=(4, 4, 4, 4, 4)"]
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "a.png")
    arguments = ["--weights", str(weights), "--out", str(tmp_path / "out")]
    assert script.main(["predict", str(tmp_path / "a.png"), *arguments]) == 0
    assert script.main(["evaluate", *arguments, *ONE_DEVICE]) == 0


def test_a_mask_with_a_strange_class_ends_the_run_with_its_name(script, two_classes, tmp_path):
    """The folder reader looks at each mask, and so does the script for sources that do not."""
    (two_classes / "classes.txt").write_text("sky\n")
    options = ("--data.source", "folder", "--data.root", str(two_classes), "--loss.class-weights", "log")
    with pytest.raises(ValueError, match=r"\.png: class index out of range: 1"):
        script.main(_options(tmp_path, "strange", *options))
    assert not (tmp_path / "strange").exists()


def test_predictions_of_own_images(script, run, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(np.full((40, 70, 3), 200, np.uint8)).save(photos / "wide.jpg")
    Image.fromarray(np.full((21, 5), 90, np.uint8)).save(photos / "grey.png")
    weights = str(run / "weights.safetensors")
    for more in ([], ["--native-size"]):
        out = tmp_path / f"out{len(more)}"
        assert script.main(["predict", "--weights", weights, "--out", str(out), *more, str(photos)]) == 0
        for name, size in (("wide", (70, 40)), ("grey", (5, 21))):
            with (
                Image.open(out / f"{name}_mask.png") as mask,
                Image.open(out / f"{name}_overlay.png") as over,
            ):
                assert mask.mode == "P"
                assert mask.size == over.size == size
                assert np.asarray(mask).max() <= 10
                assert mask.getpalette()[3:6] == [230, 60, 60]  # the digit scenes' colour of a zero


def test_a_broken_image_is_named_and_the_others_are_done(script, run, tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(b"not a picture")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "b.png")
    weights, out = str(run / "weights.safetensors"), tmp_path / "out"
    assert script.main(["predict", "--weights", weights, "--out", str(out), str(tmp_path)]) == 1
    assert "a.png" in capsys.readouterr().err
    assert sorted(path.name for path in out.iterdir()) == ["b_legend.png", "b_mask.png", "b_overlay.png"]


def test_windows_views_and_probabilities(script, run, tmp_path, capsys):
    rng = np.random.default_rng(0)
    for name, size in (("a", (40, 70, 3)), ("b", (21, 33, 3)), ("c", (40, 60, 3))):
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(tmp_path / f"{name}.png")
    files = [str(tmp_path / f"{name}.png") for name in "abc"]
    weights, out = str(run / "weights.safetensors"), tmp_path / "out"
    arguments = ["predict", "--weights", weights, "--out", str(out), "--probabilities", "--batch-size", "2"]
    arguments += ["--window", "32", "32", "--overlap", "8", "8", "--scales", "0.5", "1.0", "--flip"]
    assert script.main([*arguments, *files]) == 0
    for name, size in (("a", (40, 70)), ("b", (21, 33))):
        with (
            np.load(out / f"{name}_probabilities.npz") as archive,
            Image.open(out / f"{name}_mask.png") as mask,
        ):
            probabilities = archive["probabilities"]
            assert probabilities.shape == (*size, 11)
            assert archive["class_names"].tolist()[:2] == ["background", "digit 0"]
            best = probabilities.argmax(-1) == np.asarray(mask)
        np.testing.assert_allclose(probabilities.sum(-1, dtype=np.float32), 1, atol=5e-3)
        assert best.mean() > 0.98  # but for ties in float16
    assert "3/3" in capsys.readouterr().out


def test_weights_that_no_run_wrote(script, run, tmp_path):
    """Our own variables without a configuration: the network is named, with its fields."""
    file, image = tmp_path / "unet.safetensors", tmp_path / "a.png"
    write_safetensors(file, read_variables(run / "weights.safetensors"))
    Image.fromarray(np.full((40, 70, 3), 200, np.uint8)).save(image)
    named = ["--model.name", "unet_bn", "--model.set", "features=(4, 8)"]
    more = ["--weights", str(file), "--out", str(tmp_path / "out"), "--palette", "digits", str(image)]
    assert script.main(["predict", *named, *more]) == 0
    with Image.open(tmp_path / "out" / "a_mask.png") as mask:
        published = np.asarray(mask)
    own = ["--weights", str(run / "weights.safetensors"), "--out", str(tmp_path / "own"), "--native-size"]
    assert script.main(["predict", *own, str(image)]) == 0
    with Image.open(tmp_path / "own" / "a_mask.png") as mask:
        np.testing.assert_array_equal(published, np.asarray(mask))


def test_a_refinement_without_its_extra_names_the_command(script, run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    weights = str(run / "weights.safetensors")
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'jaxvision\[refine\]'"):
        script.main(["predict", str(tmp_path / "a.png"), "--weights", weights, "--refine"])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "not the weights.safetensors of a run of this script; .*--model.name"),
        (["--model.name", "unett"], "unknown network 'unett'"),
        (["--model.name", "unet_bn"], "in the file and"),
        (
            ["--model.name", "unet_bn", "--model.set", "features=(4, 8)", "--model.num-classes", "3"],
            "untrained",
        ),
        (["--model.name", "unet_bn", "--model.set", "features"], "expected FIELD=VALUE"),
        (["--model.name", "vgg16"], "does not fit vgg16|absent in the"),
        (["--batch-size", "0"], "--batch-size: got 0"),
    ],
)
def test_mistakes_in_predicting_are_named(script, run, tmp_path, more, message):
    file, image = tmp_path / "unet.safetensors", tmp_path / "a.png"
    write_safetensors(file, read_variables(run / "weights.safetensors"))
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(image)
    with pytest.raises(ValueError, match=message):
        script.main(["predict", "--weights", str(file), "--out", str(tmp_path / "out"), str(image), *more])
    assert not (tmp_path / "out").exists()


def test_a_run_is_never_overwritten(script, run):
    with pytest.raises(ValueError, match=r"holds another run\. Go on with it by --resume"):
        script.main(_options(run.parent, "a"))


@pytest.mark.slow
def test_a_run_without_a_name_gets_the_next_number(script, tmp_path):
    (tmp_path / "digits-unet_bn-4").mkdir()
    arguments = [*TINY, "--run.folder", str(tmp_path), "--run.steps", "1"]
    assert script.main(arguments) == 0
    assert (tmp_path / "digits-unet_bn-5" / "weights.safetensors").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--model.name", "unett"], "unknown network 'unett'"),
        (["--model.name", "vgg16"], "one score an image"),
        (["--optimizer.name", "adamm"], "unknown optimizer 'adamm'"),
        (["--optimizer.schedule", "cosin"], "unknown schedule 'cosin'"),
        (["--optimizer.freeze", "encodr1*"], "encodr1"),
        (["--loss.cross-entropy", "0", "--loss.dice", "0"], "expected some of cross_entropy"),
        (["--loss.label-smoothing", "2"], "label_smoothing"),
        (["--loss.focal-gamma", "-1"], "focal_gamma"),
        (["--loss.class-weights", "1", "2"], "got 2 weights for 11 classes"),
        (["--loss.class-weights", *["0"] * 11], "one above 0"),
        (["--loss.lovasz", "-1"], "lovasz: expected a factor >= 0"),
        (["--loss.ohem-threshold", "2"], "ohem_threshold"),
        (["--data.source", "voc"], "needs --data.root"),
        (["--data.source", "voc", "--data.root", "absent"], "no such folder"),
        (["--data.train-scenes", "4"], "batch"),
        (["--run.devices", "64"], "this machine has"),
        (["--model.weights", "absent.safetensors"], "absent.safetensors"),
        (["--model.set", "depth=3"], "--set depth: unet_bn has no such field, only .*features"),
        (["--model.set", "use_norm=1"], "--set use_norm: got 1, expected bool"),
        (["--model.set", "num_classes=3"], "this command sets it by itself"),
    ],
)
def test_mistakes_are_named_and_leave_no_folder(script, tmp_path, more, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        script.main(_options(tmp_path, "wrong", *more))
    assert not (tmp_path / "wrong").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--model.features", "4", "16"], r"another run:\n  model.features: \[4, 8\] -> \[4, 16\]"),
        (["--optimizer.name", "sgd"], "optimizer.name: adamw -> sgd"),
        (["--run.seed", "3"], "run.seed: 0 -> 3"),
    ],
)
def test_resuming_as_another_run_is_refused(script, run, more, message):
    with pytest.raises(ValueError, match=message):
        script.main(["--resume", str(run), *more])


def test_resuming_a_checkpoint_of_another_network_is_refused(script, run, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(run, folder)
    config = json.loads((folder / "config.json").read_text())
    config["model"]["features"] = [4, 6]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="of another model, class count or optimizer"):
        script.main(["--resume", str(folder)])


@pytest.fixture
def two_classes(tmp_path):
    """A folder of images and masks with two classes."""
    root = tmp_path / "data"
    rng = np.random.default_rng(0)
    for name, shape, high in (("images", (32, 32, 3), 256), ("masks", (32, 32), 2)):
        (root / name).mkdir(parents=True)
        for index in range(12):
            Image.fromarray(rng.integers(0, high, shape, dtype=np.uint8)).save(root / name / f"{index}.png")
    (root / "classes.txt").write_text("sky\nground\n")
    return root


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["jit", "pmap"])
def test_a_loss_that_is_no_number_names_the_layer_and_saves_the_batch(script, tmp_path, parallel):
    options = ("--optimizer.name", "sgd", "--optimizer.schedule", "constant")
    options += ("--optimizer.learning-rate", "1e38", "--run.parallel", parallel)
    with pytest.raises(FloatingPointError, match=r"step 2: .* (gradients|params|model_state)/\w+"):
        script.main(_options(tmp_path, "bad", *options))
    with np.load(tmp_path / "bad" / "bad_batch_step2.npz") as batch:
        assert batch["images"].shape == (8, 32, 32, 3)
    assert not list((tmp_path / "bad" / "checkpoints").iterdir())


@pytest.mark.slow
def test_resuming_with_another_class_count_is_refused(script, two_classes, tmp_path):
    data = ("--data.source", "folder", "--data.root", str(two_classes))
    assert script.main(_options(tmp_path, "two", *data, steps=2)) == 0
    (two_classes / "classes.txt").write_text("sky\nground\nwater\n")
    saved = sorted((tmp_path / "two" / "checkpoints").iterdir())
    with pytest.raises(
        CheckpointError, match=r"head/bias: the checkpoint has float32\[2\], this run float32\[3\]"
    ):
        script.main(["--resume", str(tmp_path / "two"), "--run.steps", "4"])
    assert sorted((tmp_path / "two" / "checkpoints").iterdir()) == saved


def test_options_that_change_no_number_may_change_in_a_resumed_run(script, run):
    arguments = ["--resume", str(run), "--data.workers", "2", "--run.log-every", "1", "--run.keep", "5"]
    arguments += ["--report.worst", "3"]
    config, folder = parse_command(script.Config, arguments, description="", program="")
    assert (config.data.workers, config.run.keep, config.report.worst, folder) == (2, 5, 3, run)


@pytest.mark.slow
def test_a_resumed_run_may_begin_to_stop_early_and_needs_no_first_weights(script, run, tmp_path):
    first = tmp_path / "first.safetensors"
    shutil.copy(run / "weights.safetensors", first)
    assert script.main(_options(tmp_path, "w", "--model.weights", str(first), steps=2)) == 0
    first.unlink()
    more = ("--run.steps", "4", "--run.patience", "3")
    assert script.main(["--resume", str(tmp_path / "w"), *more]) == 0


def test_there_must_be_a_run_to_resume(script, tmp_path):
    with pytest.raises(ValueError, match="no run in this folder"):
        script.main(["--resume", str(tmp_path)])


def test_weights_of_another_network_are_refused(script, run, tmp_path):
    weights = str(run / "weights.safetensors")
    options = _options(tmp_path, "w", "--model.weights", weights, "--model.features", "4", "6")
    with pytest.raises(ValueError, match=r"encoder2_norm1/mean is \(8,\) in the file and \(6,\)"):
        script.main(options)


@pytest.mark.slow
def test_a_run_starts_from_the_weights_of_another(script, run, tmp_path):
    weights = str(run / "weights.safetensors")
    options = _options(tmp_path, "w", "--model.weights", weights, "--optimizer.learning-rate", "0", steps=1)
    options += ["--optimizer.schedule", "constant"]
    assert script.main(options) == 0
    first, second = (read_weights(f / "weights.safetensors") for f in (run, tmp_path / "w"))
    params = [name for name in first if name.startswith("params")]
    assert params and all(np.array_equal(first[name], second[name]) for name in params)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("unet_bn", {"features": (16, 32, 64, 128), "dropout_rate": 0.0}),
        ("unet_resnet34", {}),
        ("unetplusplus_resnet34", {}),
        ("segnet", {}),
        ("fcn8s_vgg16", {"hidden": 4096}),
        ("deconvnet", {"hidden": 4096}),
    ],
)
def test_each_network_gets_the_options_that_it_has(script, name, fields):
    options = script.ModelOptions(name=name)
    assert script.model_fields(options, 12) == {"num_classes": 12, **fields}
    assert zoo.create(name, **script.model_fields(options, 12)).num_classes == 12


@pytest.fixture(scope="module")
def published_resnet18(tmp_path_factory):
    """A file of torchvision's names and values from a seed."""
    model = zoo.create("resnet18")
    shapes = jax.eval_shape(
        functools.partial(model.init, train=False), jax.random.key(0), np.zeros((1, 32, 32, 3))
    )
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    named = to_state_dict(zeros, zoo.ENTRIES["resnet18"].rules())
    path = tmp_path_factory.mktemp("published") / "resnet18.npz"
    np.savez(path, **seeded_state_dict({key: value.shape for key, value in named.items()}))
    return path


@pytest.mark.slow
def test_a_published_classifier_starts_the_backbone(script, published_resnet18, tmp_path, capsys):
    options = _options(
        tmp_path, "w", "--model.name", "linknet_resnet18", "--model.weights", str(published_resnet18),
        "--optimizer.freeze", "backbone", steps=1,
    )  # fmt: skip
    assert script.main(options) == 0
    shown = capsys.readouterr().out
    assert "100 leaves of resnet18 start backbone; " in shown
    assert "are new: decoder_block0, decoder_block1" in shown
    with np.load(published_resnet18) as source:
        kernel = source["layer4.1.conv2.weight"].transpose(2, 3, 1, 0)
    trained = read_variables(tmp_path / "w" / "weights.safetensors")
    np.testing.assert_array_equal(trained["params"]["backbone"]["stage4_block1"]["conv2"]["kernel"], kernel)
    # The run's own weights start it whole.
    again = _options(
        tmp_path, "x", "--model.name", "linknet_resnet18",
        "--model.weights", str(tmp_path / "w" / "weights.safetensors"), steps=1,
    )  # fmt: skip
    assert script.main(again) == 0
    assert "leaves of" not in capsys.readouterr().out


@pytest.mark.slow
def test_weights_of_neither_the_network_nor_its_backbone_say_so_of_both(script, tmp_path):
    np.savez(tmp_path / "odd.npz", **{"conv1.weight": np.zeros((2, 3))})
    options = _options(
        tmp_path, "w", "--model.name", "linknet_resnet18", "--model.weights", str(tmp_path / "odd.npz")
    )
    with pytest.raises(ValueError, match=r"(?s)resnet18.*Nor are they weights of all of linknet_resnet18: "):
        script.main(options)


@pytest.mark.slow
def test_the_seed_reaches_what_weights_leave_new(script, published_resnet18, tmp_path):
    heads = []
    for seed in ("1", "1", "2"):
        options = script.ModelOptions(name="linknet_resnet18", weights=str(published_resnet18))
        task = segmentation_task(
            zoo.create("linknet_resnet18", num_classes=2), None, num_classes=2, image_size=(32, 32)
        )
        variables, expected = script.initial_variables(options, 2, task, None, seed=int(seed))
        assert expected == zoo.find_entry("resnet18").preprocessing
        leaves = jax.tree.leaves(variables["params"]["decoder_block0"])
        heads.append(np.concatenate([np.ravel(leaf) for leaf in leaves]))
    np.testing.assert_array_equal(heads[0], heads[1])
    assert not np.array_equal(heads[0], heads[2])


def test_a_network_without_a_backbone_takes_no_weights_of_another_library(
    script, published_resnet18, tmp_path
):
    options = _options(tmp_path, "w", "--model.weights", str(published_resnet18))
    with pytest.raises(ValueError, match="unet_bn has no backbone that a classifier's weights could start"):
        script.main(options)
    assert not (tmp_path / "w").exists()


def test_a_mistake_ends_with_a_message_and_code_1(tmp_path):
    child = _child(*_options(tmp_path, "x", "--model.name", "unett"))
    output, _ = child.communicate(timeout=120)
    assert child.returncode == 1
    assert output.startswith("error: unknown network 'unett'")
    assert "Traceback" not in output


@pytest.mark.slow
def test_an_interrupt_saves_and_the_run_goes_on(script, tmp_path):
    options = _options(tmp_path, "long", "--run.checkpoint-every", "100000", steps=100_000)
    with _child(*options) as child:
        for line in child.stdout:
            if line.startswith("step 4/"):
                child.send_signal(signal.SIGINT)
                break
        output = child.stdout.read()
    assert child.wait(timeout=120) == 128 + signal.SIGINT
    assert "stopped by SIGINT" in output
    assert "--resume" in output
    # The interrupt saves; so does an evaluation that is the best so far.
    saved = max(int(p.name) for p in (tmp_path / "long" / "checkpoints").iterdir() if p.name.isdigit())
    assert saved >= 4
    steps = str(saved + 2)
    assert script.main(["--resume", str(tmp_path / "long"), "--run.steps", steps]) == 0


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_bit_equal(tmp_path):
    """``kill -9`` four times, each some random lines and milliseconds after the loop has started.

    The loop alone is killed twenty times by ``tests/training/test_killed_runs.py``.
    """
    options = ["--optimizer.ema", "0.9", "--model.dropout", "0.3", "--run.checkpoint-every", "5"]
    steps = 240  # four lives of up to 20 lines, two steps a line, cannot use them up
    whole = _child(*_options(tmp_path, "whole", *options, steps=steps))
    shown, _ = whole.communicate(timeout=300)
    assert whole.returncode == 0, shown
    draw = random.Random(0)
    folder, reached = tmp_path / "killed", []
    child = _child(*_options(tmp_path, "killed", *options, steps=steps))
    for _ in range(4):
        lines = (line for line in child.stdout if line.startswith("step "))
        last = list(itertools.islice(lines, draw.randint(1, 20)))[-1]
        time.sleep(draw.uniform(0, 0.05))
        assert child.poll() is None, "the run ended before it could be killed"
        child.kill()
        child.communicate(timeout=60)
        reached.append(int(re.match(r"step (\d+)", last)[1]))
        child = _child("--resume", folder)
    assert max(reached) > 20, "no life got past a few checkpoints"
    shown, _ = child.communicate(timeout=300)
    assert child.returncode == 0, shown
    first, second = (read_weights(tmp_path / n / "weights.safetensors") for n in ("whole", "killed"))
    assert all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_a_folder_without_a_size_is_trained_at_its_own_default(script, tmp_path, capsys):
    write_labelme(tmp_path / "data", 5)
    start = TINY.index("--data.size")
    tiny = [*TINY[:start], *TINY[start + 3 :]]
    options = [*("--data.source", "labelme", "--data.root", str(tmp_path / "data"), "--data.batch-size", "1")]
    where = ["--run.folder", str(tmp_path), "--run.name", "own", "--run.steps", "1"]
    assert script.main([*tiny, *options, *where]) == 0
    assert "images resized to 256 x 256 (--data.size)" in capsys.readouterr().out
    assert json.loads((tmp_path / "own" / "config.json").read_text())["data"]["size"] == [256, 256]


@pytest.mark.slow
def test_a_labelme_folder_becomes_a_trained_network(script, tmp_path):
    write_labelme(tmp_path / "data", 5)
    (tmp_path / "data" / "a2.json").write_text("{")
    options = [*("--data.source", "labelme", "--data.root", str(tmp_path / "data"), "--data.batch-size", "2")]
    options += ["--data.skip-broken", "--data.workers", "1"]
    assert script.main(_options(tmp_path, "own", *options, steps=2)) == 0
    with (tmp_path / "own" / "classes.csv").open(newline="") as file:
        assert [row["class"] for row in csv.DictReader(file)] == ["_background_", "car", "road"]
    variables = read_variables(tmp_path / "own" / "weights.safetensors")
    assert variables["params"]["head"]["kernel"].shape[-1] == 3
    again = ["--config", str(tmp_path / "own" / "config.json"), "--run.name", "again"]
    assert script.main(again) == 0
    first, second = (read_weights(tmp_path / name / "weights.safetensors") for name in ("own", "again"))
    assert all(np.array_equal(first[name], second[name]) for name in first)
