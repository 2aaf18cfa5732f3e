"""The pictures of the README: all there, small, and made by the script from what runs leave behind."""

import importlib.util
import json
import re
import sys
import types
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from jaxvision import zoo
from jaxvision.data import DIGIT_SCENES_CLASSES, Vocabulary
from jaxvision.weights import write_safetensors, write_word_vectors

ROOT = Path(__file__).parents[2]
LARGEST = 2_000_000  # bytes of all pictures of the gallery
README = (ROOT / "README.md").read_text()


def load_gallery():
    spec = importlib.util.spec_from_file_location("colab_gallery", ROOT / "colab" / "gallery.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


gallery = load_gallery()


def test_the_readme_shows_what_the_script_makes_and_it_is_small():
    names = {*gallery.PICTURES, *gallery.SCENE_PICTURES}
    files = {path.stem: path for path in (ROOT / "colab" / "gallery").iterdir()}
    assert files.keys() == names
    assert set(re.findall(r"\(colab/gallery/(\w+)\.png\)", README)) == names
    assert sum(path.stat().st_size for path in files.values()) < LARGEST
    assert "python colab/gallery.py" in README
    for path in files.values():
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert 200 <= picture.width <= 1000 and np.asarray(picture.convert("RGB")).std() > 1


def test_all_pictures_of_the_repository_together_stay_small():
    pictures = [path for folder in ("train", "colab/gallery") for path in (ROOT / folder).glob("*.png")]
    assert sum(path.stat().st_size for path in pictures) < LARGEST


@pytest.fixture
def runs(tmp_path):
    """Runs as the scripts leave them, of networks that were not trained."""
    folder = tmp_path / "runs" / "segmentation"
    folder.mkdir(parents=True)
    fields = {"features": (2, 2, 2, 2), "dropout_rate": 0.0}
    model = zoo.create("unet_bn", num_classes=len(DIGIT_SCENES_CLASSES), **fields)
    images = jax.ShapeDtypeStruct((1, 48, 48, 3), "float32")
    shapes = jax.eval_shape(lambda key, x: model.init(key, x, train=False), jax.random.key(0), images)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda x: rng.uniform(0.1, 1.0, x.shape).astype(np.float32), shapes)
    config = {"model": {"name": "unet_bn", "features": [2, 2, 2, 2]}}
    write_safetensors(folder / "weights.safetensors", variables, metadata={"config": json.dumps(config)})

    words = tmp_path / "runs" / "words"
    words.mkdir()
    tokens = [f"word{index}" for index in range(1500)]
    Vocabulary(tokens, counts=range(2000, 500, -1)).save(words / "vocabulary.txt")
    vectors = rng.normal(size=(1500, 8)).astype(np.float32)
    write_word_vectors(words / "vectors.bin", tokens, vectors, format="binary")
    (words / "weights.safetensors").touch()

    nodes = tmp_path / "runs" / "nodes"
    nodes.mkdir()
    wide = np.full((40, 1500, 3), 255, np.uint8)
    wide[5:20, 5:1200] = 90
    Image.fromarray(wide).save(nodes / "map.png")
    (nodes / "weights.safetensors").touch()
    return tmp_path / "runs"


@pytest.mark.slow
def test_pictures_are_drawn_from_finished_runs(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "SCENES", 4)

    def no_training(*_, **__):
        raise AssertionError("a finished run is not trained again")

    monkeypatch.setattr(gallery, "subprocess", types.SimpleNamespace(run=no_training))
    out = tmp_path / "out"
    names = [*gallery.SCENE_PICTURES, "words", "nodes"]
    options = ["--runs", str(runs), "--out", str(out), "--only", *names]
    assert gallery.main(options) == 0
    assert {path.stem for path in out.iterdir()} == set(names)
    with Image.open(out / "nodes.png") as picture:
        assert picture.size == (1000, round(40 * 1000 / 1208))  # its empty margin is cut off


def test_a_run_that_is_not_there_is_trained_by_its_script(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(
        gallery.subprocess, "run", lambda command, **options: calls.append((command, options))
    )
    gallery.train("segmentation", tmp_path, full=False)
    gallery.train("segmentation", tmp_path, full=True)
    (short, options), (full, _) = calls
    assert options == {"cwd": gallery.ROOT, "check": True}
    assert short[1:6] == [
        "train/segmentation.py",
        "--run.folder",
        str(tmp_path),
        "--run.name",
        "segmentation-short",
    ]
    assert short[6:] == ["--run.steps", "2500", "--run.eval-every", "500"]
    assert full[5:] == ["segmentation"]
    (tmp_path / "segmentation").mkdir()  # a run that was stopped goes on
    gallery.train("segmentation", tmp_path, full=True)
    assert calls.pop()[0][1:] == ["train/segmentation.py", "--resume", str(tmp_path / "segmentation")]
    for script, *_ in gallery.RUNS.values():
        assert (ROOT / script).is_file()
