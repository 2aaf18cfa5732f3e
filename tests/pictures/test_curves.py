import math
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from jaxvision.pictures import plot_curves

RECORDS = [
    *({"step": step, "train/loss": 2 / (1 + step)} for step in range(0, 100, 10)),
    *({"step": step, "val/loss": 1.0, "val/mIoU": step / 100, "note": "loss of words"} for step in (50, 100)),
    {"event": "saved"},
]


def read(path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def test_one_panel_a_kind_of_metric(tmp_path):
    both = read(plot_curves(RECORDS, tmp_path / "out" / "both.png"))
    loss = read(plot_curves(RECORDS[:10], tmp_path / "loss.png"))
    assert both.shape == (480, 1440, 3)
    assert loss.shape == (480, 720, 3)
    assert len(np.unique(both.reshape(-1, 3), axis=0)) > 50  # lines, text and their edges


def test_curves_follow_the_values(tmp_path):
    rising = [{"step": step, "loss": step} for step in range(10)]
    falling = [{"step": step, "loss": 9 - step} for step in range(10)]

    def slope(records) -> float:
        picture = read(plot_curves(records, tmp_path / "a.png")).astype(int)
        blue = picture[..., 2] - picture[..., 0] > 80  # matplotlib's first colour
        blue[:120, :] = False  # the legend
        blue[-100:, :] = False
        y, x = np.nonzero(blue)
        return np.polyfit(x, y, 1)[0]

    assert slope(rising) < -0.3  # pixel rows count downwards
    assert slope(falling) > 0.3


def test_panels_and_axis_can_be_chosen(tmp_path):
    records = [{"epoch": 1, "lr": 0.1}, {"epoch": 2, "lr": 0.01}]
    picture = read(plot_curves(records, tmp_path / "a.png", x="epoch", panels=[("rate", "lr")]))
    assert picture.shape == (480, 720, 3)


def test_values_that_are_not_finite_leave_a_gap(tmp_path):
    records = [{"step": 0, "loss": 1.0}, {"step": 1, "loss": math.nan}, {"step": 2, "loss": math.inf}]
    read(plot_curves(records, tmp_path / "a.png"))
    read(plot_curves(records[1:], tmp_path / "b.png"))


def test_records_without_a_metric_are_refused_and_no_file_is_made(tmp_path):
    for records in ([], [{"step": 1, "accuracy": 0.5}], [{"loss": 0.5}], [{"step": 1, "loss": "low"}]):
        with pytest.raises(ValueError, match="holds a metric named like 'loss', 'miou'"):
            plot_curves(records, tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_pyplot_is_not_imported(tmp_path):
    program = (
        "import sys; from jaxvision.pictures import plot_curves;"
        f"plot_curves([{{'step': 0, 'loss': 1.0}}], {str(tmp_path / 'a.png')!r});"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)
    assert (tmp_path / "a.png").exists()
