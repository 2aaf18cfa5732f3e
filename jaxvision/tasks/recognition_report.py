"""What a text recognition run leaves behind: scores of both decoders, a table of lengths, pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxvision.data import Vocabulary, WordSource
from jaxvision.metrics import TranscriptCounts, label_error_rate, sequence_accuracy
from jaxvision.ops import Transcripts, ctc_beam_search, ctc_greedy_decode
from jaxvision.pictures import readings_sheet, write_png
from jaxvision.tasks.report_files import print_table, write_curves, write_scores, write_table
from jaxvision.tasks.text_recognition import BLANK, NO_CHARACTER, count_readings
from jaxvision.training import read_json_lines

_MOST_SHOWN = 32  # pictures of a sheet
_HEADINGS = {
    "length": "length",
    "words": "words",
    "accuracy": "accuracy",
    "character_error_rate": "character error rate",
}


def decode(logits: jax.Array, *, beam_size: int) -> Transcripts:
    """The best transcript of each row: of the best path for a beam of 1, else by a search over prefixes.

    Args:
      logits: floating ``[N, T, K]``.
      beam_size: prefixes that are kept.

    Returns:
      Labels ``[N, T]``, lengths ``[N]`` and log probabilities ``[N]``.

    Raises:
      ValueError: if ``beam_size`` is below 1.
    """
    if beam_size == 1:
        return ctc_greedy_decode(logits, blank=BLANK)
    found = ctc_beam_search(logits, beam_size=beam_size, blank=BLANK)
    return Transcripts(*(field[:, 0] for field in found))


def read_strings(found: Transcripts, alphabet: Vocabulary) -> list[str]:
    """Transcripts as text."""
    labels, lengths = np.asarray(found.labels), np.asarray(found.lengths)
    return ["".join(alphabet.decode(row[:length])) for row, length in zip(labels, lengths, strict=True)]


def write_recognition_report(
    folder: Path,
    source: WordSource,
    labels: np.ndarray,
    logits: np.ndarray,
    alphabet: Vocabulary,
    *,
    beam_size: int,
) -> dict[str, float]:
    """Scores the logits of a test part, and writes and prints all about them.

    Args:
      folder: of the run.
      source: the test part.
      labels: of its texts, int32 ``[N, L]``.
      logits: of its pictures, ``[N, T, K]``.
      alphabet: the blank first.
      beam_size: of the search.

    Returns:
      ``accuracy`` and ``character_error_rate`` of the best path, and with ``beam_`` in front of the search.
    """
    count = jax.jit(count_readings)
    everything = np.ones(len(labels), bool)
    greedy = jax.jit(lambda x: decode(x, beam_size=1))(logits)
    scores = _rates(jax.device_get(count(greedy, labels, where=everything)))
    if beam_size > 1:
        beam = jax.jit(lambda x: decode(x, beam_size=beam_size))(logits)
        beam_scores = _rates(jax.device_get(count(beam, labels, where=everything)))
        scores |= {f"beam_{name}": value for name, value in beam_scores.items()}
    lengths = (labels != NO_CHARACTER).sum(axis=1)
    rows: list[dict[str, Any]] = []
    for length in np.unique(lengths):
        counts = jax.device_get(count(greedy, labels, where=lengths == length))
        rows.append({"length": str(length), "words": int(counts.sequences), **_rates(counts)})
    write_scores(folder / "scores.json", scores)
    write_table(folder / "lengths.csv", rows)
    _write_readings(folder, source, read_strings(greedy, alphabet))
    records = read_json_lines(folder / "metrics.jsonl")
    write_curves(folder / "curves.png", records, title="words without an error", metric="accuracy")
    print_table(f"{folder}: {len(source)} test pictures", rows, scores, headings=_HEADINGS)
    return scores


def _rates(counts: TranscriptCounts) -> dict[str, float]:
    return {
        "accuracy": float(sequence_accuracy(counts)),
        "character_error_rate": float(label_error_rate(counts)),
    }


def _write_readings(folder: Path, source: WordSource, readings: Sequence[str]) -> None:
    """All that was read as a table; the first pictures, and those that were read wrong, as sheets."""
    truths = source.texts
    write_table(
        folder / "readings.csv",
        [
            {"picture": str(number), "text": truth, "read": reading}
            for number, (truth, reading) in enumerate(zip(truths, readings, strict=True))
        ],
    )
    wrong = [number for number, truth in enumerate(truths) if readings[number] != truth]
    for name, chosen in (("readings", list(range(len(truths)))), ("mistakes", wrong)):
        chosen = chosen[:_MOST_SHOWN]
        sheet = readings_sheet(
            [source[number]["image"] for number in chosen],
            [readings[number] for number in chosen],
            truths=[truths[number] for number in chosen],
        )
        write_png(folder / f"{name}.png", sheet)
