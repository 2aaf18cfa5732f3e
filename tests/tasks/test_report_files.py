import csv
import json
import math

import numpy as np
import pytest
from PIL import Image

from jaxvision.tasks import class_scores
from jaxvision.tasks.report_files import print_table, write_curves, write_scores, write_table

ROWS = class_scores(np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]]), ("sky", "road", "car"))


def test_the_table_as_csv(tmp_path):
    write_table(tmp_path / "classes.csv", ROWS)
    with (tmp_path / "classes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == ["sky", "road", "car"]
    assert [row["iou"] for row in rows] == ["0.750000", "0.666667", ""]
    assert [row["true_pixels"] for row in rows] == ["4", "2", "0"]


def test_a_table_needs_a_row(tmp_path):
    with pytest.raises(ValueError, match=r"classes\.csv: no row"):
        write_table(tmp_path / "classes.csv", [])


def test_the_table_on_the_terminal(capsys):
    headings = {"class": "class", "iou": "IoU", "true_pixels": "true pixels"}
    print_table("test", [*ROWS, {**ROWS[0], "true_pixels": 1234567}], {"mean_iou": 0.7083}, headings=headings)
    shown = capsys.readouterr().out
    assert "0.7500" in shown and "absent" in shown and "mean_iou 0.7083" in shown and "1,234,567" in shown


def test_scores_are_json_without_nan(tmp_path):
    write_scores(tmp_path / "scores.json", {"accuracy": 0.5, "f1": math.nan, "images": 3})
    assert json.loads((tmp_path / "scores.json").read_text()) == {"accuracy": 0.5, "f1": None, "images": 3}


def test_curves_with_and_without_evaluations(tmp_path):
    train = [{"kind": "train", "step": i, "loss": 1 / i} for i in (1, 2)]
    evaluations = [{"kind": "evaluate", "step": 2, "loss": 0.7, "mean_iou": 0.5}]
    write_curves(tmp_path / "one.png", train, title="mIoU", metric="mean_iou")
    write_curves(tmp_path / "two.png", train + evaluations, title="mIoU", metric="mean_iou")
    with Image.open(tmp_path / "one.png") as one, Image.open(tmp_path / "two.png") as two:
        assert two.width > one.width
    write_curves(tmp_path / "none.png", [], title="mIoU", metric="mean_iou")
    assert not (tmp_path / "none.png").exists()
