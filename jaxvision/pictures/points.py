"""A map of points in the colours of their classes as a PNG."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from jaxvision.core import write_atomically

__all__ = ["plot_labelled_points"]

_MOST_NAMED = 100  # points whose names are written
_MOST_CLASSES = 20  # in the legend
_MOST_EDGES = 2000


def plot_labelled_points(
    path: str | Path,
    points: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    *,
    title: str,
    names: Sequence[str] = (),
    edges: np.ndarray | None = None,
) -> Path:
    """Draws points with one colour a class, grey where none is known.

    Args:
      path: the PNG to be written.
      points: finite, ``[N, 2]``.
      labels: integers ``[N]``; -1 for none.
      class_names: by index.
      title: above the map.
      names: of the points, or none; written where there are at most 100.
      edges: integers ``[E, 2]``, pairs of points to be joined by lines; left out where there are more than
        2000.

    Returns:
      The path.

    Raises:
      ValueError: if there is no point, not one label or name a point, a label without a class, or a point is
        not finite.
    """
    points, labels = np.asarray(points, np.float64), np.asarray(labels)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise ValueError(f"points: expected [N, 2] of one or more, got {list(points.shape)}")
    if labels.shape != (len(points),) or len(names) not in (0, len(points)):
        raise ValueError(f"labels, names: got {len(labels)} and {len(names)} for {len(points)} points")
    if labels.max() >= len(class_names):
        raise ValueError(f"labels: got {labels.max()} of {len(class_names)} classes")
    if not np.isfinite(points).all():
        raise ValueError("points: expected finite numbers; the vectors hold some that are not")
    figure = Figure(figsize=(9, 8), layout="constrained")
    axes = figure.subplots()
    if edges is not None and 0 < len(edges) <= _MOST_EDGES:
        axes.add_collection(LineCollection(list(points[edges]), colors="0.8", linewidths=0.6, zorder=0))
    size = 60 if len(points) <= _MOST_NAMED else 10
    unknown = labels < 0
    if unknown.any():
        axes.scatter(points[unknown, 0], points[unknown, 1], s=size, color="0.6", linewidths=0)
    for index, name in enumerate(class_names):
        chosen = labels == index
        if chosen.any():
            short = str(name) if len(str(name)) <= 30 else f"{str(name)[:29]}…"
            text = short.replace("$", r"\$")  # or matplotlib would read a formula
            label = text if index < _MOST_CLASSES else None
            axes.scatter(
                points[chosen, 0], points[chosen, 1], s=size, color=_colour(index), linewidths=0, label=label
            )
    if len(points) <= _MOST_NAMED:
        for name, (x, y) in zip(names, points, strict=False):
            axes.annotate(
                str(name), (x, y), xytext=(4, 4), textcoords="offset points", fontsize=8, parse_math=False
            )
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best", fontsize=8)
    axes.set_title(title)
    axes.set_xticks([])
    axes.set_yticks([])
    return write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=120))


def _colour(index: int) -> tuple[float, float, float]:
    """Hues far apart one after the other, and each round of ten in another tone."""
    from colorsys import hls_to_rgb

    step, tone = index % 10, index // 10 % 3
    return hls_to_rgb((step * 0.3 + 0.02 * tone) % 1.0, (0.45, 0.65, 0.3)[tone], 0.75)
