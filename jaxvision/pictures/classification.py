"""Confusion matrices and reliability diagrams as PNGs, through matplotlib's objects: no window."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from jaxvision.core import write_atomically

__all__ = ["confusion_picture", "reliability_picture"]

_CELL = 0.42  # inches
_MOST_NAMED = 60  # classes; of more, every other name, or fewer, is written, and no counts
_LONGEST_NAME = 24  # letters


def confusion_picture(
    counts: np.ndarray, path: str | Path, *, class_names: Sequence[str], in_percent: bool = False
) -> Path:
    """Draws a confusion matrix: colour is the share of the true class, the number is the count.

    The colour follows the square root of the share, or few mistakes would look like none. A row of
    a class without images is grey. Readable to about 40 classes; above 60 the numbers and some names are left
    out.

    Args:
      counts: integer [K, K], rows = truth, columns = prediction.
      path: the PNG to be written.
      class_names: K names.
      in_percent: writes the share of the true class instead of the count, for pixels, of which there are
        millions. What rounds to 0.0 % is not written.

    Returns:
      The path.

    Raises:
      ValueError: if the matrix is not square, or there is not one name a class.
    """
    counts = np.asarray(counts)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not len(counts):
        raise ValueError(f"counts: got {list(counts.shape)}, expected a square matrix [K, K]")
    if len(class_names) != len(counts):
        raise ValueError(f"class_names: got {len(class_names)} names for {len(counts)} classes")
    names = [_shortened(name) for name in class_names]
    shown = min(len(counts), _MOST_NAMED)
    longest = max(map(len, names))
    side = _CELL * max(shown, 6)
    margin = 0.9 + 0.09 * longest
    figure = Figure(figsize=(side + margin + 1.0, side + margin), dpi=120, layout="constrained")
    axes = figure.subplots()
    heat = _draw_matrix(axes, counts, in_percent)
    stride = -(-len(counts) // _MOST_NAMED)
    ticks = range(0, len(counts), stride)
    axes.set_xticks(ticks, names[::stride], rotation=90 if longest > 3 else 0, fontsize=9)
    axes.set_yticks(ticks, names[::stride], fontsize=9)
    axes.set_xlabel("prediction")
    axes.set_ylabel("truth")
    beside = axes.inset_axes((1 + 0.2 / side, 0.0, 0.2 / side, 1.0))  # as high as the matrix
    figure.colorbar(heat, cax=beside, label="share of the true class", ticks=(0, 0.01, 0.05, 0.2, 0.5, 1))
    return write_atomically(path, lambda file: figure.savefig(file, format="png"))


def reliability_picture(
    confidence: np.ndarray,
    accuracy: np.ndarray,
    count: np.ndarray,
    path: str | Path,
    *,
    error: float | None = None,
) -> Path:
    """Draws accuracy over confidence, bin by bin, and below it how many images each bin holds.

    Where the accuracy is below the diagonal the network is too sure. The arguments are the fields of
    :class:`jaxvision.metrics.Reliability`.

    Args:
      confidence: floating [B], mean confidence of each bin; nan for a bin without images.
      accuracy: floating [B], share that is right; nan for a bin without images.
      count: [B], number of images.
      path: the PNG to be written.
      error: the expected calibration error, for the title.

    Returns:
      The path.

    Raises:
      ValueError: if the shapes differ, or there is no image.
    """
    confidence, accuracy, count = (np.asarray(values, np.float64) for values in (confidence, accuracy, count))
    if not confidence.shape == accuracy.shape == count.shape or confidence.ndim != 1:
        shapes = [list(values.shape) for values in (confidence, accuracy, count)]
        raise ValueError(f"confidence, accuracy, count: got {shapes}, expected [B] each")
    if count.sum() == 0:
        raise ValueError("count: got 0 images, expected at least one")
    edges = np.linspace(0, 1, len(count) + 1)
    figure = Figure(figsize=(5, 6), dpi=120, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    _draw_bars(upper, edges, confidence, accuracy, count > 0)
    title = "reliability" if error is None else f"reliability, calibration error {100 * error:.1f} %"
    upper.set_title(title)
    lower.set_axisbelow(True)
    lower.bar(edges[:-1], count / count.sum(), np.diff(edges), align="edge", color="0.6", edgecolor="white")
    lower.set_ylabel("share of images")
    lower.set_xlabel("confidence")
    lower.set_xlim(0, 1)
    lower.grid(alpha=0.3)
    return write_atomically(path, lambda file: figure.savefig(file, format="png"))


def _draw_matrix(axes: Axes, counts: np.ndarray, in_percent: bool) -> AxesImage:
    totals = counts.sum(axis=1, keepdims=True)  # [K, 1]
    shares = np.ma.masked_where(np.broadcast_to(totals == 0, counts.shape), counts / np.maximum(totals, 1))
    axes.set_facecolor("0.85")
    norm = PowerNorm(0.5, vmin=0, vmax=1)
    heat = axes.imshow(shares, cmap="Blues", norm=norm, interpolation="nearest")
    if len(counts) > _MOST_NAMED:
        return heat
    # A cell is at least 72 * _CELL points wide, a digit about 0.62 of its height.
    longest = 4 if in_percent else len(str(counts.max()))
    size = min(9.0, 72 * _CELL * 0.9 / (0.62 * longest))
    written = np.ma.filled(shares, 0) >= 0.0005 if in_percent else counts > 0
    for row, column in np.argwhere(written):
        colour = "white" if norm(shares[row, column]) > 0.6 else "black"
        text = _percent(shares[row, column]) if in_percent else str(counts[row, column])
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=size)
    return heat


def _percent(share: float) -> str:
    """``100``, ``99.9`` or ``3.1``: never rounded up to a whole that it is not."""
    return "100" if share == 1 else f"{min(100 * share, 99.9):.1f}"


def _draw_bars(
    axes: Axes, edges: np.ndarray, confidence: np.ndarray, accuracy: np.ndarray, filled: np.ndarray
) -> None:
    left, width = edges[:-1][filled], np.diff(edges)[filled]
    right, sure = accuracy[filled], confidence[filled]
    axes.set_axisbelow(True)
    axes.bar(left, right, width, align="edge", color="tab:blue", edgecolor="white", label="accuracy")
    axes.bar(
        left,
        sure - right,
        width,
        bottom=right,
        align="edge",
        color=(0.84, 0.15, 0.16, 0.25),
        edgecolor="tab:red",
        label="gap to the mean confidence",
    )
    axes.plot((0, 1), (0, 1), color="0.3", linestyle="--", linewidth=1, label="as sure as right")
    axes.set_ylim(0, 1)
    axes.set_ylabel("accuracy")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")


def _shortened(name: str) -> str:
    short = name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
    return short.replace("$", r"\$")  # or matplotlib would read a formula
