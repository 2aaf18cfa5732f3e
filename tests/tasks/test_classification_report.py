import csv
import json

import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax
from sklearn.metrics import precision_recall_fscore_support

from jaxvision.data import ArrayImages
from jaxvision.metrics import fit_temperature
from jaxvision.tasks.classification_report import write_report

NAMES = ("cat", "dog", "bird")


@pytest.fixture
def logits():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 60)
    return (4 * rng.normal(size=(60, 3)) + 6 * np.eye(3)[labels]).astype(np.float32), labels


@pytest.fixture
def source(logits):
    images = np.random.default_rng(1).integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    return ArrayImages(images, logits[1], class_names=NAMES)


@pytest.fixture
def folder(tmp_path):
    record = {"kind": "train", "step": 1, "loss": 2.0}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    return tmp_path


def test_the_report_is_of_the_logits(folder, source, logits, capsys):
    scores, labels = logits
    held_out = (labels[:30], scores[:30])
    found = write_report(folder, source, scores, held_out=held_out, is_tested_apart=True)
    assert found == fit_temperature(scores[:30], labels[:30])
    written = json.loads((folder / "scores.json").read_text())
    assert written["accuracy"] == pytest.approx((scores.argmax(1) == labels).mean())
    assert written["temperature"] == found

    def error(temperature):
        """The calibration error by its definition, in 15 bins."""
        p = softmax(scores.astype(np.float64) / temperature, axis=1)
        sure, right = p.max(1), p.argmax(1) == labels
        bins = np.ceil(sure * 15)
        return sum(abs(right[bins == b].sum() - sure[bins == b].sum()) for b in np.unique(bins)) / 60

    assert written["calibration_error"] == pytest.approx(error(1.0), abs=1e-5)
    assert written["calibration_error_at_temperature"] == pytest.approx(error(found), abs=1e-5)
    with (folder / "classes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    expected = precision_recall_fscore_support(labels, scores.argmax(1))
    assert [row["class"] for row in rows] == list(NAMES)
    np.testing.assert_allclose([float(row["f1"]) for row in rows], expected[2], atol=1e-6)
    assert "bird" in capsys.readouterr().out
    for name in ("confusion", "reliability", "mistakes", "curves"):
        with Image.open(folder / f"{name}.png") as image:
            assert min(image.size) > 150


def test_a_temperature_fitted_on_the_test_part_proves_nothing(folder, source, logits):
    scores, labels = logits
    write_report(folder, source, scores, held_out=(labels, scores), is_tested_apart=False)
    written = json.loads((folder / "scores.json").read_text())
    assert "temperature" in written and "calibration_error_at_temperature" not in written


def test_without_held_out_images_there_is_no_temperature(folder, source, logits):
    assert write_report(folder, source, logits[0], held_out=None, is_tested_apart=True) is None
    assert "temperature" not in json.loads((folder / "scores.json").read_text())


def test_a_network_without_mistakes(folder, source, logits):
    perfect = 9 * np.eye(3, dtype=np.float32)[logits[1]]
    held_out = (logits[1], perfect)
    assert write_report(folder, source, perfect, held_out=held_out, is_tested_apart=True) is None
    assert json.loads((folder / "scores.json").read_text())["macro_f1"] == 1.0
    assert (folder / "mistakes.png").exists()
