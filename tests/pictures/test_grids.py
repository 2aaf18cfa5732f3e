import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from jaxvision.pictures import Grid, draw_grid, grid_animation

ORANGE, GREY = (252, 184, 97), (222, 222, 222)


def _draw(grid):
    axes = Figure().subplots()
    draw_grid(axes, grid)
    return axes


def test_numbers_stand_in_their_cells():
    axes = _draw(Grid(np.array([[1.0, -0.0, np.nan], [0.12345, -3.5, 1234.0]]), title="six"))
    texts = {text.get_position(): text.get_text() for text in axes.texts}
    assert texts == {(0, 0): "1", (1, 0): "0", (0, 1): "0.123", (1, 1): "-3.5", (2, 1): "1.23e+03"}
    assert axes.get_title() == "six"


@pytest.mark.parametrize("size", [(1, 2), (3, 3), (7, 5)])
def test_lines_part_all_cells(size):
    axes = _draw(Grid(np.zeros(size)))
    lines = axes.yaxis.get_minorticklocs(), axes.xaxis.get_minorticklocs()
    assert [line.tolist() for line in lines] == [[place - 0.5 for place in range(n + 1)] for n in size]


def test_marked_cells_are_orange_and_muted_ones_grey():
    eye = np.eye(3, dtype=bool)
    first_row = np.zeros((3, 3), bool)
    first_row[0] = True
    axes = _draw(Grid(np.zeros((3, 3)), marked=eye, muted=first_row))
    colours = np.round(axes.images[0].get_array() * 255).astype(int)
    assert [tuple(colours[i, i]) for i in range(3)] == [ORANGE] * 3  # a marked cell is not muted
    assert [tuple(colours[0, i]) for i in (1, 2)] == [GREY] * 2
    assert (colours[1:][~eye[1:]] == 255).all()


def test_the_animation_has_a_picture_a_frame():
    def frame(step):
        done = np.where(np.arange(4) <= step, 7.0, np.nan).reshape(2, 2)
        return [Grid(np.ones((3, 5)), marked=np.arange(15).reshape(3, 5) == step), Grid(done, title="out")]

    content = grid_animation([frame(step) for step in range(4)], seconds=0.2)
    assert len(content) < 20_000
    with Image.open(io.BytesIO(content)) as animation:
        assert animation.n_frames == 4
        assert animation.info["loop"] == 0
        frames, durations = [], []
        for step in range(4):
            animation.seek(step)
            durations.append(animation.info["duration"])
            frames.append(np.asarray(animation.convert("RGB"), int))
    assert durations == [200, 200, 200, 600]
    orange = [np.abs(pixels - ORANGE).max(axis=-1) < 12 for pixels in frames]
    columns = [np.nonzero(mask)[1].mean() for mask in orange]
    assert columns == sorted(columns)
    assert columns[0] < columns[-1] - 50  # the mark moves to the right


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (Grid(np.zeros((2, 2, 1))), r"values: expected \[H, W\], got \[2, 2, 1\]"),
        (Grid(np.zeros((2, 2)), marked=np.zeros((2, 3), bool)), r"marked: expected \[2, 2\], got \[2, 3\]"),
        (Grid(np.zeros((2, 2)), muted=np.zeros(2, bool)), r"muted: expected \[2, 2\], got \[2\]"),
    ],
)
def test_a_wrong_grid_is_named(grid, message):
    with pytest.raises(ValueError, match=message):
        _draw(grid)


@pytest.mark.parametrize(
    "frames", [[], [[]], [[Grid(np.ones((1, 2)))], [Grid(np.ones((2, 1)))]], [[Grid(np.ones((1, 1)))], []]]
)
def test_frames_of_different_sizes_are_refused(frames):
    with pytest.raises(ValueError, match="frames: expected one or more"):
        grid_animation(frames)
