"""Small arrays as grids of numbers, one beside the other, still or as an animation."""

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

__all__ = ["Grid", "draw_grid", "grid_animation"]

_PLAIN, _MUTED, _MARKED = (1.0, 1.0, 1.0), (0.87, 0.87, 0.87), (0.99, 0.72, 0.38)
_CELL = 0.45  # inches


class Grid(NamedTuple):
    """An array to be drawn as a grid of numbers.

    Attributes:
      values: ``[H, W]``; nan leaves a cell empty.
      marked: bool ``[H, W]``, cells in orange; None for none.
      muted: bool ``[H, W]``, cells in grey (the padding of an image) unless they are marked; None for none.
      title: above the grid.
    """

    values: np.ndarray
    marked: np.ndarray | None = None
    muted: np.ndarray | None = None
    title: str = ""


def draw_grid(axes: Axes, grid: Grid) -> None:
    """Draws numbers, to three digits, in cells.

    Args:
      axes: to draw on.
      grid: what to draw.

    Raises:
      ValueError: if the values are not ``[H, W]``, or ``marked`` or ``muted`` has another shape.
    """
    values = np.asarray(grid.values, np.float64)
    if values.ndim != 2:
        raise ValueError(f"values: expected [H, W], got {list(values.shape)}; draw one image and channel")
    colours = np.full((*values.shape, 3), _PLAIN)  # [H, W, 3]
    for name, cells, colour in (("muted", grid.muted, _MUTED), ("marked", grid.marked, _MARKED)):
        if cells is None:
            continue
        if np.shape(cells) != values.shape:
            raise ValueError(f"{name}: expected {list(values.shape)}, got {list(np.shape(cells))}")
        colours[np.asarray(cells, bool)] = colour
    height, width = values.shape
    axes.imshow(colours, interpolation="nearest")
    axes.set_xticks([])  # a minor tick, and its line, is left out where a major one is
    axes.set_yticks([])
    axes.set_xticks(np.arange(width + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(height + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="0.4", linewidth=0.8)
    axes.tick_params(which="minor", length=0)
    for row, column in np.argwhere(~np.isnan(values)):
        text = f"{values[row, column] + 0.0:.3g}"  # no minus before a zero
        axes.text(column, row, text, ha="center", va="center", fontsize=9 if len(text) < 4 else 7)
    axes.set_title(grid.title, fontsize=9)


def grid_animation(frames: Sequence[Sequence[Grid]], *, seconds: float = 0.6) -> bytes:
    """An animated GIF whose frames are grids side by side.

    Args:
      frames: each as many grids of the same sizes.
      seconds: that a frame stays; the last one stays three times as long.

    Returns:
      The content of a GIF that goes round for ever, a few kB a frame.

    Raises:
      ValueError: if there is no frame, frames differ in the sizes of their grids, or as :func:`draw_grid`.

    >>> grid_animation([[Grid(np.eye(2))], [Grid(1 - np.eye(2))]])[:6]
    b'GIF89a'
    """
    sizes = [[np.shape(grid.values) for grid in frame] for frame in frames]
    if not sizes or not sizes[0] or any(size != sizes[0] for size in sizes):
        raise ValueError("frames: expected one or more, each of as many grids, with the sizes of the first's")
    pictures = [_draw_frame(frame) for frame in frames]
    file = io.BytesIO()
    durations = [round(1000 * seconds)] * (len(pictures) - 1) + [round(3000 * seconds)]
    pictures[0].save(
        file, "GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0, optimize=True
    )
    return file.getvalue()


def _draw_frame(grids: Sequence[Grid]) -> Image.Image:
    widths = [np.shape(grid.values)[-1] for grid in grids]
    height = max(np.shape(grid.values)[0] for grid in grids)
    size = (_CELL * (sum(widths) + len(widths) + 1), _CELL * (height + 2))
    figure = Figure(figsize=size, layout="constrained", dpi=80)
    panels = figure.subplots(1, len(grids), squeeze=False, width_ratios=widths)[0]
    for axes, grid in zip(panels, grids, strict=True):
        draw_grid(axes, grid)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]  # [H, W, 3]
    return Image.fromarray(pixels.copy()).quantize(32)
