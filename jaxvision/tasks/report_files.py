"""Files and tables that the report of every task has: scores, rows of a class, curves of the run."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxvision.core import write_atomically
from jaxvision.pictures import plot_curves, plot_rate_range
from jaxvision.training import RateRange


def write_scores(path: Path, scores: Mapping[str, Any]) -> None:
    """Writes scores as indented JSON; a number that is not finite is written as null."""
    text = json.dumps({name: _finite_or_none(value) for name, value in scores.items()}, indent=2)
    write_atomically(path, lambda file: file.write(text.encode()))


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows of equal names as CSV: floats with six decimals, a nan as an empty field.

    Raises:
      ValueError: if there is no row.
    """
    if not rows:
        raise ValueError(f"{path}: no row to write")
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _csv_field(value) for name, value in row.items()})
    write_atomically(path, lambda file: file.write(text.getvalue().encode()))


def write_rate_range(folder: Path, found: RateRange) -> Path:
    """Writes a learning-rate range test as ``lr_range.csv`` and ``lr_range.png``, whose path it returns."""
    columns = zip(found.rates, found.losses, found.smoothed, strict=True)
    write_table(
        folder / "lr_range.csv", [{"rate": f"{r:.6g}", "loss": x, "smoothed": s} for r, x, s in columns]
    )
    return plot_rate_range(
        folder / "lr_range.png", found.rates, found.losses, found.smoothed, suggestion=found.suggestion
    )


def print_table(
    title: str,
    rows: Sequence[Mapping[str, Any]],
    scores: Mapping[str, float],
    *,
    headings: Mapping[str, str],
) -> None:
    """Shows rows on the terminal, and a line of scores below.

    Args:
      title: above the table.
      rows: mappings of equal names. A nan is shown as "absent".
      scores: name -> number.
      headings: name in the rows -> heading; the first column is text, the others are numbers.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for index, heading in enumerate(headings.values()):
        table.add_column(heading, justify="right" if index else "left")
    for row in rows:
        table.add_row(*(_shown(row[name]) for name in headings))
    console = Console()
    console.print(table)
    console.print("  ".join(f"{name} {value:.4f}" for name, value in scores.items()), highlight=False)


def write_curves(path: Path, records: Sequence[Mapping[str, Any]], *, title: str, metric: str) -> None:
    """Draws loss and a score over the steps, from the records of ``metrics.jsonl``.

    Args:
      path: of the PNG.
      records: each with ``step`` and ``kind``; without one nothing is drawn.
      title: of the score's panel, which is left out where no evaluation is among the records.
      metric: name of the score.
    """
    prefixed = [
        {"step": record["step"]}
        | {
            f"{record['kind']}/{name}": value
            for name, value in record.items()
            if name not in ("step", "kind")
        }
        for record in records
    ]
    panels = [("loss", "/loss")]
    if any(f"evaluate/{metric}" in record for record in prefixed):
        panels.append((title, f"/{metric}"))
    if prefixed:
        plot_curves(prefixed, path, panels=panels)


def _finite_or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _csv_field(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else f"{value:.6f}"


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return "absent" if math.isnan(value) else f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
