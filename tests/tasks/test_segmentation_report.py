import csv

import numpy as np
from PIL import Image

from jaxvision.pictures import voc_palette
from jaxvision.tasks import class_scores
from jaxvision.tasks.segmentation_report import (
    print_class_table,
    write_class_table,
    write_contact_sheet,
    write_curves,
)

ROWS = class_scores(np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]]), ("sky", "road", "car"))


def test_the_table_as_csv(tmp_path):
    write_class_table(tmp_path / "classes.csv", ROWS)
    with (tmp_path / "classes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == ["sky", "road", "car"]
    assert [row["iou"] for row in rows] == ["0.750000", "0.666667", ""]
    assert [row["true_pixels"] for row in rows] == ["4", "2", "0"]


def test_the_table_on_the_terminal(capsys):
    print_class_table("test", ROWS, {"mean_iou": 0.7083})
    shown = capsys.readouterr().out
    assert "0.7500" in shown and "absent" in shown and "mean_iou 0.7083" in shown


def test_curves_with_and_without_evaluations(tmp_path):
    train = [{"kind": "train", "step": i, "loss": 1 / i} for i in (1, 2)]
    evaluations = [{"kind": "evaluate", "step": 2, "loss": 0.7, "mean_iou": 0.5}]
    write_curves(tmp_path / "one.png", train)
    write_curves(tmp_path / "two.png", train + evaluations)
    with Image.open(tmp_path / "one.png") as one, Image.open(tmp_path / "two.png") as two:
        assert two.width > one.width


def test_the_contact_sheet_has_a_row_an_example(tmp_path):
    image = np.full((10, 10, 3), 90, np.uint8)
    mask = np.zeros((10, 10), np.uint8)
    for count in (1, 2):
        path = tmp_path / f"{count}.png"
        write_contact_sheet(
            path, [(image, mask, mask + 1)] * count, class_names=("a", "b"), palette=voc_palette()
        )
    with Image.open(tmp_path / "1.png") as one, Image.open(tmp_path / "2.png") as two:
        assert two.height > one.height > 0
