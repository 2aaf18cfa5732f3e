"""The script from end to end, on networks and data so small that the compiler takes most of the time."""

import csv
import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax

from jaxvision import zoo
from jaxvision.data import eval_transform
from jaxvision.training import CheckpointError, make_train_step, read_json_lines
from jaxvision.weights import read_metadata, read_variables, read_weights, write_safetensors

SCRIPT = Path(__file__).parents[2] / "train" / "classification.py"
NET = ("--model.blocks", "1", "1", "1", "--model.features", "4", "4", "8")
TINY = [
    *NET,
    *("--data.size", "8", "8", "--data.batch-size", "16", "--optimizer.warmup-steps", "0"),
    *("--run.log-every", "2", "--run.eval-every", "4", "--run.checkpoint-every", "2"),
    *("--run.devices", "1", "--run.no-compilation-cache"),
]


@pytest.fixture(scope="module")
def script():
    specification = importlib.util.spec_from_file_location("classification_script", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


def _options(folder, name, *more, steps=6):
    return [*TINY, "--run.folder", str(folder), "--run.name", name, "--run.steps", str(steps), *more]


@pytest.fixture(scope="module")
def run(script, tmp_path_factory):
    """A finished run of six steps."""
    folder = tmp_path_factory.mktemp("runs")
    assert script.main(_options(folder, "a")) == 0
    return folder / "a"


@pytest.fixture
def pictures(tmp_path):
    """A folder of two classes, told apart by their brightness."""
    root = tmp_path / "pictures"
    rng = np.random.default_rng(0)
    for name, low in (("dark", 0), ("light", 150)):
        (root / name).mkdir(parents=True)
        for index in range(20):
            image = rng.integers(low, low + 100, (12, 10, 3), dtype=np.uint8)
            Image.fromarray(image).save(root / name / f"{index}.png")
    return root


def _rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_everything_behind(run):
    assert {path.name for path in run.iterdir()} == {
        *("config.json", "metrics.jsonl", "events", "checkpoints", "weights.safetensors"),
        *("scores.json", "classes.csv"),
        *("curves.png", "confusion.png", "reliability.png", "mistakes.png"),
    }
    records = read_json_lines(run / "metrics.jsonl")
    assert [r["step"] for r in records if r["kind"] == "evaluate"] == [4, 6]
    rows = _rows(run / "classes.csv")
    assert [row["class"] for row in rows] == list("0123456789")
    assert sum(int(row["true_images"]) for row in rows) == 269
    scores = json.loads((run / "scores.json").read_text())
    assert 0 <= scores["accuracy"] <= scores["top5_accuracy"] <= 1
    assert scores["temperature"] > 0
    for picture in run.glob("*.png"):
        with Image.open(picture) as image:
            assert min(image.size) > 200
    assert read_variables(run / "weights.safetensors")["params"]["head"]["kernel"].shape == (8, 10)
    metadata = read_metadata(run / "weights.safetensors")
    assert json.loads(metadata["class_names"]) == list("0123456789")
    assert json.loads(metadata["preprocessing"])["size"] == [8, 8]
    assert json.loads(metadata["temperature"]) == scores["temperature"]


def test_a_resumed_run_is_bit_equal(script, run, tmp_path):
    shutil.copytree(run, tmp_path / "b")
    shutil.rmtree(tmp_path / "b" / "checkpoints" / "6")
    assert script.main(["--resume", str(tmp_path / "b")]) == 0
    first, second = (read_weights(folder / "weights.safetensors") for folder in (run, tmp_path / "b"))
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert (run / "scores.json").read_text() == (tmp_path / "b" / "scores.json").read_text()


@pytest.mark.slow
def test_a_resumed_run_with_everything_is_bit_equal(script, tmp_path):
    """Mixing, two optimizers, an average, halving and early stopping: all of it is in the checkpoint."""
    options = [
        *("--loss.mixup", "0.5", "--loss.cutmix", "1", "--loss.label-smoothing", "0.1"),
        *("--optimizer.name", "adam_then_sgd", "--optimizer.switch-step", "5", "--optimizer.ema", "0.9"),
        *("--optimizer.plateau", "0", "--run.patience", "5", "--model.drop-path", "0.2"),
        *("--data.rand-augment", "2", "9", "--data.erasing", "0.5", "--optimizer.layer-decay", "0.8"),
        *("--run.keep", "9", "--run.eval-every", "2"),
    ]
    assert script.main(_options(tmp_path, "whole", *options, steps=10)) == 0
    for step in (4, 6):  # in front of and behind the change of the optimizer
        folder = tmp_path / f"from{step}"
        shutil.copytree(tmp_path / "whole", folder)
        for later in range(step + 2, 11, 2):
            shutil.rmtree(folder / "checkpoints" / str(later))
        assert script.main(["--resume", str(folder)]) == 0
        first, second = (read_weights(p / "weights.safetensors") for p in (tmp_path / "whole", folder))
        assert all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_a_folder_is_divided_and_its_classes_are_named(script, pictures, tmp_path):
    data = ("--data.source", "folder", "--data.root", str(pictures), "--data.crop-scale", "0.5", "1")
    assert script.main(_options(tmp_path, "folder", *data)) == 0
    rows = _rows(tmp_path / "folder" / "classes.csv")
    assert [(row["class"], row["true_images"]) for row in rows] == [("dark", "3"), ("light", "3")]
    scores = json.loads((tmp_path / "folder" / "scores.json").read_text())
    assert "top5_accuracy" not in scores


def test_predictions_of_own_images(script, run, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, shape in (("wide.jpg", (20, 40, 3)), ("grey.png", (9, 5)), ("c.png", (8, 8, 3))):
        Image.fromarray(np.full(shape, 90, np.uint8)).save(photos / name)
    weights = str(run / "weights.safetensors")
    command = ["predict", "--weights", weights, "--out", str(tmp_path / "out"), str(photos)]
    assert script.main([*command, "--top", "3", "--batch-size", "2"]) == 0
    records = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [Path(r["image"]).name for r in records] == ["c.png", "grey.png", "wide.jpg"]
    first = [c["probability"] for c in records[0]["classes"]]
    assert len(first) == 3 and first == sorted(first, reverse=True) and sum(first) <= 1
    rows = _rows(tmp_path / "out" / "predictions.csv")
    assert rows[0]["class1"] == records[0]["classes"][0]["class"]
    assert float(rows[0]["probability1"]) == pytest.approx(first[0], abs=1e-6)
    assert script.main([*command, "--calibrated"]) == 0
    records = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert records[0]["classes"][0]["probability"] != first[0] and len(records[0]["classes"]) == 5


@pytest.fixture
def published(run, tmp_path):
    """The run's variables under the names of PyTorch, as weights that no run wrote, and a picture."""
    tensors = zoo.export_state_dict("cifar_resnet20", read_variables(run / "weights.safetensors"))
    np.savez(tmp_path / "net.npz", **tensors)
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    return tmp_path / "net.npz", tmp_path / "a.png", picture


NAMED = ("--model.name", "cifar_resnet20")
FIELDS = ("--model.set", "backbone={'blocks': (1, 1, 1), 'features': (4, 4, 8)}")


def test_published_weights_classify_with_their_own_preprocessing(script, published, tmp_path):
    file, path, picture = published
    (tmp_path / "names.txt").write_text("\n".join("abcdefghij"))
    more = ["--model.class-names", str(tmp_path / "names.txt"), "--top", "10", "--out", str(tmp_path / "out")]
    assert script.main(["predict", str(path), "--weights", str(file), *NAMED, *FIELDS, *more]) == 0
    (record,) = json.loads((tmp_path / "out" / "predictions.json").read_text())
    found = {entry["class"]: entry["probability"] for entry in record["classes"]}

    fields = {"backbone": {"blocks": (1, 1, 1), "features": (4, 4, 8)}}
    loaded = zoo.load("cifar_resnet20", weights=file, **fields)
    transform = eval_transform(zoo.find_entry("cifar_resnet20").preprocessing)
    pixels = transform({"image": picture}, np.random.default_rng(0))["image"]
    logits = loaded.model.apply(loaded.variables, pixels[None], train=False)
    wanted = dict(zip("abcdefghij", softmax(np.asarray(logits)[0]), strict=True))
    assert found == pytest.approx(wanted, rel=1e-4)


def test_names_in_the_file_of_weights_are_the_networks_own(script, published, tmp_path):
    file, path, _ = published
    with np.load(file) as tensors:
        metadata = {"class_names": json.dumps(list("klmnopqrst"))}
        write_safetensors(tmp_path / "net.safetensors", dict(tensors), metadata=metadata)
    more = ["--weights", str(tmp_path / "net.safetensors"), "--top", "10", "--out", str(tmp_path / "out")]
    assert script.main(["predict", str(path), *more, *NAMED, *FIELDS]) == 0
    (record,) = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert {entry["class"] for entry in record["classes"]} == set("klmnopqrst")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ((), "not the weights.safetensors of a run of this script; .*--model.name"),
        (("--model.num-classes", "3"), "--model.class-names are of weights that no run wrote"),
        ((*NAMED, "--calibrated"), "only the weights of a run come with a temperature"),
        ((*NAMED, *FIELDS, "--model.num-classes", "7"), "another number of classes"),
        ((*NAMED,), "does not fit cifar_resnet20"),
        (("--model.name", "cifar_resnet"), "unknown network 'cifar_resnet'; did you mean"),
        (("--model.name", "resnet18"), "does not fit resnet18"),
    ],
)
def test_mistakes_with_published_weights_are_named(script, published, tmp_path, more, message):
    file, path, _ = published
    with pytest.raises(ValueError, match=message):
        script.main(["predict", str(path), "--weights", str(file), "--out", str(tmp_path / "out"), *more])
    assert not (tmp_path / "out").exists()


def test_a_broken_image_is_named_and_the_others_are_done(script, run, tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(b"not a picture")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "b.png")
    weights, out = str(run / "weights.safetensors"), tmp_path / "out"
    assert script.main(["predict", "--weights", weights, "--out", str(out), str(tmp_path)]) == 1
    assert "a.png" in capsys.readouterr().err
    assert [Path(row["image"]).name for row in _rows(out / "predictions.csv")] == ["b.png"]


@pytest.mark.slow
def test_a_learning_rate_range_test(script, tmp_path, capsys):
    options = [*("--rates.steps", "30", "--rates.least", "1e-5", "--rates.greatest", "100")]
    assert script.main(["lr-range", *_options(tmp_path, "range", *options)]) == 0
    shown = capsys.readouterr().out
    rows = _rows(tmp_path / "range" / "lr_range.csv")
    rates = [float(row["rate"]) for row in rows]
    assert rates[0] == pytest.approx(1e-5) and rates == sorted(rates)
    assert "suggestion: --optimizer.learning-rate" in shown or "never fell" in shown
    with Image.open(tmp_path / "range" / "lr_range.png") as image:
        assert min(image.size) > 200


@pytest.mark.parametrize("option", ["--folds", "--optimizer.accumulate"])
def test_a_range_test_refuses_what_would_spoil_its_rates(script, tmp_path, option):
    with pytest.raises(ValueError, match="lr-range takes a step a rate"):
        script.main(["lr-range", *_options(tmp_path, "range", option, "3")])


@pytest.mark.slow
def test_folds_are_scored_and_the_last_fit_sees_all(script, tmp_path, monkeypatch):
    traces = []

    def counted(*arguments, **options):
        inner = make_train_step(*arguments, **options)

        def step(state, batch):
            traces.append(1)
            return inner(state, batch)

        return step

    monkeypatch.setattr("jaxvision.training.run.make_train_step", counted)
    options = _options(tmp_path, "folds", "--folds", "3", steps=4)
    assert script.main(options) == 0
    assert len(traces) == 1, "one step serves all folds and the last fit"
    folder = tmp_path / "folds"
    rows = _rows(folder / "folds.csv")
    assert [row["fold"] for row in rows] == ["1", "2", "3", "mean", "std"]
    values = [float(row["accuracy"]) for row in rows]
    assert values[3] == pytest.approx(np.mean(values[:3]), abs=1e-5)
    assert values[4] == pytest.approx(np.std(values[:3], ddof=1), abs=1e-5)
    assert not list(folder.glob("fold*/checkpoints"))
    assert "temperature" not in json.loads((folder / "scores.json").read_text())
    assert (folder / "weights.safetensors").exists()
    # A run killed in its second fold goes on there, and ends with the same numbers.
    again = tmp_path / "again"
    again.mkdir()
    for name in ("config.json", "fold1"):
        (shutil.copytree if name == "fold1" else shutil.copy)(folder / name, again / name)
    assert script.main(["--resume", str(again)]) == 0
    assert (again / "folds.csv").read_text() == (folder / "folds.csv").read_text()
    first, second = (read_weights(p / "weights.safetensors") for p in (folder, again))
    assert all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_a_frozen_backbone_stays_as_it_was(script, run, tmp_path):
    weights = str(run / "weights.safetensors")
    options = ("--model.weights", weights, "--optimizer.freeze", "backbone")
    assert script.main(_options(tmp_path, "frozen", *options, steps=2)) == 0
    first, second = (read_weights(f / "weights.safetensors") for f in (run, tmp_path / "frozen"))
    changed = {name for name in first if not np.array_equal(first[name], second[name])}
    assert changed == {"params/head/kernel", "params/head/bias"}


@pytest.mark.slow
def test_a_head_of_other_classes_is_made_anew(script, run, pictures, tmp_path, capsys, caplog):
    data = ("--data.source", "folder", "--data.root", str(pictures), "--optimizer.freeze", "backbone")
    weights = str(run / "weights.safetensors")
    assert script.main(_options(tmp_path, "new", *data, "--model.weights", weights, steps=2)) == 0
    assert "10 classes, 2 were asked for: initialised anew params/head/bias" in caplog.text
    assert "its classes were" not in capsys.readouterr().out
    first, second = (read_weights(f / "weights.safetensors") for f in (run, tmp_path / "new"))
    assert second["params/head/kernel"].shape == (8, 2)
    backbone = [name for name in first if "backbone" in name]
    assert backbone and all(np.array_equal(first[name], second[name]) for name in backbone)


def test_a_head_of_as_many_but_other_classes_is_kept_and_named(script, run, capsys):
    options = script.ModelOptions(
        weights=str(run / "weights.safetensors"), blocks=(1, 1, 1), features=(4, 4, 8)
    )
    script.load_pretrained(options, [f"class {index}" for index in range(10)], seed=0)
    shown = capsys.readouterr().out
    assert "its classes were 0, 1, 2, 3, 4 and 5 more, here they are class 0" in shown
    script.load_pretrained(options, list("0123456789"), seed=0)
    assert capsys.readouterr().out == ""
    kernels = [
        script.load_pretrained(options, ["a", "b"], seed=seed).variables["params"]["head"]["kernel"]
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[0], kernels[2])  # a new head is of the run's seed


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--model.name", "cifar_resnet2"], "unknown network 'cifar_resnet2'; did you mean"),
        (["--model.features", "4", "8"], "blocks and features: expected one number a stage"),
        (["--model.blocks", "1", "1", "--model.features", "4", "8"], "gives .* and no 'c3'"),
        (["--optimizer.freeze", "bakbone"], "bakbone"),
        (["--loss.label-smoothing", "2"], "label-smoothing"),
        (["--loss.mixup", "-1"], "--loss.mixup: expected 0 or more"),
        (["--loss.class-weights", "1", "2"], "got 2 weights for 10 classes"),
        (["--optimizer.layer-decay", "0"], "layer_decay"),
        (["--data.source", "folder"], "needs --data.root FOLDER"),
        (["--data.source", "csv", "--data.root", "absent.csv"], "absent.csv: no such file or folder"),
        (["--data.interpolation", "cubic"], "cubic"),
        (["--data.batch-size", "2000"], "batch"),
        (["--folds", "1"], "folds"),
        (["--folds", "5", "--run.patience", "3"], "follow the score"),
        (["--folds", "1000"], "expected at least 1000 members of each class"),
        (["--data.root", "flowers"], r"--data\.source digits does not read; .*--data\.source folder"),
        (["--run.devices", "64"], "this machine has"),
        (["--model.weights", "absent.safetensors"], "absent.safetensors"),
        (["--model.set", "depth=3"], "--set depth: cifar_resnet20 has no such field"),
    ],
)
def test_mistakes_are_named_and_leave_no_folder(script, tmp_path, more, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        script.main(_options(tmp_path, "wrong", *more))
    assert not (tmp_path / "wrong").exists()


def test_other_fields_of_the_network_are_set(script):
    words = ("backbone={'features': (4, 8, 8)}", "dropout_rate=0.5")
    options = script.ModelOptions(blocks=(1, 1, 1), dropout=0.1, set=words)
    assert options.overrides() == {
        "backbone": {"blocks": (1, 1, 1), "features": (4, 8, 8)},
        "dropout_rate": 0.5,
    }
    model = script.build_model(options, 3)
    assert (model.backbone.features, model.backbone.blocks, model.dropout_rate) == ((4, 8, 8), (1, 1, 1), 0.5)


def test_a_network_for_pixels_is_refused(script, tmp_path):
    options = [*("--data.size", "32", "32", "--run.folder", str(tmp_path), "--run.no-compilation-cache")]
    with pytest.raises(ValueError, match=r"unet_bn gives \[1, 32, 32, 10\] .*train/segmentation\.py"):
        script.main([*options, "--model.name", "unet_bn"])
    assert not list(tmp_path.iterdir())


def test_one_class_is_refused(script, pictures, tmp_path):
    shutil.rmtree(pictures / "light")
    with pytest.raises(ValueError, match="1 class folder"):
        script.main(_options(tmp_path, "one", "--data.source", "folder", "--data.root", str(pictures)))


def test_a_class_smaller_than_the_folds_is_named(script, pictures, tmp_path):
    data = ("--data.source", "folder", "--data.root", str(pictures))
    with pytest.raises(ValueError, match="class dark has 17, class light has 17, expected at least 18"):
        script.main(_options(tmp_path, "few", *data, "--folds", "18"))
    assert not (tmp_path / "few").exists()


def test_weights_that_do_not_fit_are_refused(script, run, tmp_path):
    weights = run / "weights.safetensors"
    with pytest.raises(ValueError, match=r"backbone/stage\d_block\d.* in the file and .* in the network"):
        script.main(
            _options(tmp_path, "w", "--model.weights", str(weights), "--model.features", "4", "4", "6")
        )
    truncated = tmp_path / "cut.safetensors"
    truncated.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"cut\.safetensors: not a whole safetensors file"):
        script.main(_options(tmp_path, "w", "--model.weights", str(truncated)))
    with pytest.raises(ValueError, match=r"cut\.safetensors: not a whole safetensors file"):
        script.main(["predict", "--weights", str(truncated), str(tmp_path)])
    assert not (tmp_path / "w").exists()


@pytest.mark.slow
def test_resuming_with_another_class_count_is_refused(script, pictures, tmp_path):
    data = ("--data.source", "folder", "--data.root", str(pictures))
    assert script.main(_options(tmp_path, "two", *data, steps=2)) == 0
    shutil.copytree(pictures / "dark", pictures / "middle")
    with pytest.raises(
        CheckpointError, match=r"head/bias: the checkpoint has float32\[2\], this run float32\[3\]"
    ):
        script.main(["--resume", str(tmp_path / "two"), "--run.steps", "4"])


def test_a_corrupt_picture_is_named_in_training(script, pictures, tmp_path):
    for index in range(20):
        (pictures / "dark" / f"{index}.png").write_bytes(b"broken")
    options = _options(tmp_path, "broken", "--data.source", "folder", "--data.root", str(pictures))
    with pytest.raises(ValueError, match=r"dark/\d+\.png: not a picture"):
        script.main(options)


@pytest.mark.slow
def test_a_loss_that_is_no_number_ends_the_run(script, tmp_path):
    options = ("--optimizer.name", "sgd", "--optimizer.schedule", "constant")
    with pytest.raises(FloatingPointError, match=r"step \d+: .* (gradients|params|model_state)/\w+"):
        script.main(_options(tmp_path, "bad", *options, "--optimizer.learning-rate", "1e38"))
    assert list((tmp_path / "bad").glob("bad_batch_step*.npz"))


def test_weights_of_another_script_are_refused(script, tmp_path, run):
    path = tmp_path / "other.safetensors"
    metadata = {"config": json.dumps({"model": {"hidden": 3}}), "class_names": "[]"}
    write_safetensors(path, {"params": {"x": np.zeros(1)}}, metadata=metadata)
    with pytest.raises(ValueError, match="of another script"):
        script.main(["predict", "--weights", str(path), str(run / "curves.png")])
    write_safetensors(path, {"params": {"x": np.zeros(1)}})
    with pytest.raises(ValueError, match=r"not the weights\.safetensors of a run"):
        script.main(["predict", "--weights", str(path), str(run / "curves.png")])
