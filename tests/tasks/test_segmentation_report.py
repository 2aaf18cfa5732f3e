import functools

import numpy as np
import pytest
from PIL import Image

from jaxvision.pictures import voc_palette
from jaxvision.tasks import SegmentationData
from jaxvision.tasks.segmentation_evaluation import SegmentationEvaluation
from jaxvision.tasks.segmentation_report import (
    ReportOptions,
    segmented_examples,
    write_contact_sheet,
    write_evaluation,
)

DATA = SegmentationData(size=(8, 8), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def _segment(images):
    """Class 1 where the image is brighter than a half."""
    return (images.mean(-1) > 0.5).astype(np.int32)


class _Source(list):
    num_classes = 2
    class_names = ("dark", "bright")


@pytest.fixture
def source():
    masks = [np.full((10, 10), 1, np.uint8), np.eye(10, dtype=np.uint8)]
    images = [np.full((10, 10, 3), 200, np.uint8), np.zeros((10, 10, 3), np.uint8)]
    return _Source(
        {"image": i, "mask": m, "name": f"photo {m.sum()}"} for i, m in zip(images, masks, strict=True)
    )


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


def test_examples_are_what_the_network_sees(source):
    (image, truth, labels), (_, second, dark) = segmented_examples(_segment, source, [0, 1], data=DATA)
    assert image.shape == (8, 8, 3) and image.dtype == np.uint8
    assert (truth == 1).all() and (labels == 1).all()
    assert second.shape == (8, 8) and not dark.any()


def test_an_evaluation_is_written_and_printed(tmp_path, source, capsys):
    confusion = np.array([[90, 0], [10, 100]])
    evaluation = SegmentationEvaluation(
        {"mean_iou": 0.9, "loss": float("nan")}, confusion, None, [(0.45, 1), (1.0, 0)]
    )
    show = functools.partial(segmented_examples, _segment, source, data=DATA)
    options = {"palette": voc_palette(), "part": "val"}
    write_evaluation(tmp_path, evaluation, source, show, **options)
    files = {"scores.json", "classes.csv", "confusion.png", "worst.png", "predictions.png"}
    assert {path.name for path in tmp_path.iterdir()} == files
    assert '"loss": null' in (tmp_path / "scores.json").read_text()
    header, dark, _ = (tmp_path / "classes.csv").read_text().splitlines()
    assert header == "class,iou,precision,recall,true_pixels,predicted_pixels"
    assert dark == "dark,0.900000,0.900000,1.000000,90,100"
    shown = " ".join(capsys.readouterr().out.split())  # a long title is broken into lines
    assert "2 val images" in shown and "boundary" not in shown
    none = evaluation._replace(worst=[], boundary=np.diag([3, 4, 5]))
    write_evaluation(tmp_path / "more", none, source, show, **options)
    assert not (tmp_path / "more" / "worst.png").exists()
    assert "boundary" in capsys.readouterr().out


def test_wrong_options_are_named():
    with pytest.raises(ValueError, match=r"--report\.worst: expected 0 or more, got -1"):
        ReportOptions(worst=-1)
    with pytest.raises(ValueError, match=r"--report\.boundary-ratio: expected a share"):
        ReportOptions(boundary_ratio=0.0)
