"""Curves of a run's metrics as a PNG, through matplotlib's objects: no window, no global figure."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxvision.core import write_atomically

__all__ = ["plot_curves"]

_DEFAULT_PANELS = (("loss", "loss"), ("mIoU", "miou"))


def plot_curves(
    records: Iterable[Mapping[str, Any]],
    path: str | Path,
    *,
    x: str = "step",
    panels: Iterable[tuple[str, str]] = _DEFAULT_PANELS,
) -> Path:
    """Draws one panel a kind of metric, one curve a metric, over the step.

    Args:
      records: one mapping a logged line, e.g. ``{"step": 100, "train/loss": 0.7}``; a record need not hold
        every metric. Values that are not finite leave a gap.
      path: the PNG to be written.
      x: the key of the horizontal axis.
      panels: (title, part) for each panel: it shows all metrics whose name contains the part, in any case.
        A panel with no metric is left out.

    Returns:
      The path.

    Raises:
      ValueError: if no record holds both ``x`` and a metric of a panel.
    """
    records = [record for record in records if x in record]
    found = [(title, _curves(records, x, part)) for title, part in panels]
    found = [(title, curves) for title, curves in found if curves]
    if not found:
        parts = ", ".join(repr(part) for _, part in panels)
        raise ValueError(
            f"plot_curves: none of {len(records)} records with {x!r} holds a metric named like {parts}"
        )
    figure = Figure(figsize=(6 * len(found), 4), layout="constrained")
    for axes, (title, curves) in zip(figure.subplots(1, len(found), squeeze=False)[0], found, strict=True):
        _draw(axes, title, x, curves)
    return write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=120))


def _curves(
    records: Iterable[Mapping[str, Any]], x: str, part: str
) -> dict[str, tuple[list[float], list[float]]]:
    curves: dict[str, tuple[list[float], list[float]]] = {}
    for record in records:
        for name, value in record.items():
            if name != x and part.lower() in name.lower() and isinstance(value, int | float):
                steps, values = curves.setdefault(name, ([], []))
                steps.append(float(record[x]))
                values.append(float(value) if math.isfinite(value) else math.nan)
    return curves


def _draw(axes: Axes, title: str, x: str, curves: Mapping[str, tuple[list[float], list[float]]]) -> None:
    for name, (steps, values) in curves.items():
        # Few points are evaluations, which deserve to be seen one by one.
        axes.plot(
            steps, values, label=name, linewidth=1.2, marker="o" if len(steps) <= 40 else None, markersize=3
        )
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.xaxis.set_major_locator(MaxNLocator(nbins="auto", integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
