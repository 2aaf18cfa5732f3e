"""What a tagging run leaves behind: scores, tables of tags and spans, a picture of the confusion."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxvision.metrics import SpanTags
from jaxvision.pictures import confusion_picture
from jaxvision.tasks.classification import classification_rows
from jaxvision.tasks.classification_report import class_headings
from jaxvision.tasks.report_files import print_table, write_curves, write_scores, write_table
from jaxvision.tasks.sequence_tagging import span_rows
from jaxvision.training import read_json_lines


def write_tagging_report(
    folder: Path,
    scores: Mapping[str, float],
    counts: Mapping[str, Any],
    tags: Sequence[str],
    spans: SpanTags | None,
    *,
    metric: str,
    sentences: int,
) -> None:
    """Writes and prints all about the counts of a test part.

    Args:
      folder: of the run.
      scores: of the counts.
      counts: as the task counts them, summed.
      tags: names by index.
      spans: what the tags say of spans, or None.
      metric: the score whose curve is drawn.
      sentences: number of test sentences.
    """
    write_scores(folder / "scores.json", scores)
    rows = classification_rows(counts["confusion"], tags, unit="tokens")
    write_table(folder / "tags.csv", rows)
    shown, unit = rows, "tokens"
    if spans is not None:
        shown, unit = span_rows(counts["spans"], spans.types), "spans"
        write_table(folder / "spans.csv", shown)
    confusion_picture(counts["confusion"], folder / "confusion.png", class_names=tags, in_percent=True)
    records = read_json_lines(folder / "metrics.jsonl")
    write_curves(folder / "curves.png", records, title=metric.replace("_", " "), metric=metric)
    print_table(f"{folder}: {sentences} test sentences", shown, scores, headings=class_headings(unit))
