"""What a word2vec run leaves behind: vectors in the usual formats, neighbours, a map, scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxvision.data import Vocabulary, read_analogies, read_word_pairs
from jaxvision.pictures import plot_word_map, principal_plane
from jaxvision.sequence import WordSpace, keep_probability
from jaxvision.tasks.report_files import print_table, write_curves, write_scores, write_table
from jaxvision.tasks.word_options import WordReportOptions
from jaxvision.training import read_json_lines
from jaxvision.weights import write_word_vectors

__all__ = [
    "check_word_report",
    "document_names",
    "evaluate_words",
    "neighbour_rows",
    "telling_words",
    "write_word_report",
]

_SHOWN = 20  # words in the table of the terminal, and in that of the file where none are named


def check_word_report(options: WordReportOptions, vocabulary: Vocabulary) -> None:
    """Checks, before anything is trained, what :func:`write_word_report` and :func:`evaluate_words` need.

    Raises:
      FileNotFoundError: if a file to evaluate with is not there.
      ValueError: if such a file cannot be read, or a word to list is unknown.
    """
    vocabulary.encode(options.words)
    if options.similarity is not None:
        read_word_pairs(options.similarity)
    if options.analogies is not None:
        read_analogies(options.analogies)


def write_word_report(
    folder: Path,
    space: WordSpace,
    options: WordReportOptions,
    *,
    subsample: float | None,
    scores: Mapping[str, Any],
) -> dict[str, Any]:
    """Writes and prints all about the vectors of words.

    Writes ``vectors.txt`` and ``vectors.bin`` (word2vec's formats), ``neighbours.csv``, ``map.png``,
    ``scores.json`` and, from the run's log, ``curves.png``.

    Args:
      folder: of the run.
      space: the words and their vectors.
      options: what to list and to evaluate with.
      subsample: threshold of the training, which tells which words say something.
      scores: what is known already, to be written with the others.

    Returns:
      All scores.

    Raises:
      ValueError: if a word to list is unknown, or a file to evaluate with cannot be read.
    """
    words, vectors = space.vocabulary.tokens, np.asarray(space.vectors)
    telling = telling_words(space.vocabulary, subsample)
    listed = options.words or tuple(words[index] for index in telling[:_SHOWN])
    rows = neighbour_rows(space, listed, k=min(options.neighbours, len(words) - 1))
    # Tokens of a text cut into characters may be blanks, which these formats cannot hold.
    if all(word.split() == [word] for word in words):
        write_word_vectors(folder / "vectors.txt", words, vectors)
        write_word_vectors(folder / "vectors.bin", words, vectors, format="binary")
    write_table(folder / "neighbours.csv", rows)
    shown = telling[: options.map_words]
    points = principal_plane(_unit(vectors[shown])) if options.map == "pca" else _tsne(vectors[shown])
    title = f"{len(shown)} words by {'principal components' if options.map == 'pca' else 't-SNE'}"
    plot_word_map(folder / "map.png", [words[index] for index in shown], points, title=title)
    # Last, for its files may have changed since the run began: the vectors are not lost with them.
    found = {**scores, **evaluate_words(space, options)}
    write_scores(folder / "scores.json", found)
    _curves(folder)
    brief = [{"word": row["word"], "neighbours": _joined(row)} for row in rows[:_SHOWN]]
    numbers = {name: float(value) for name, value in found.items() if isinstance(value, int | float)}
    print_table(
        f"{folder}: neighbours", brief, numbers, headings={"word": "word", "neighbours": "neighbours"}
    )
    return found


def evaluate_words(
    space: WordSpace, options: WordReportOptions, *, analogies: bool = True
) -> dict[str, float]:
    """Scores by the files that the options name: none without files.

    Args:
      space: the words and their vectors.
      options: the files.
      analogies: whether to ask these, too; they take more time.

    Returns:
      ``similarity`` (Spearman's correlation) and ``similarity_pairs``; ``analogy_add``, ``analogy_mul``
      (shares of right answers) and ``analogy_questions``.
    """
    scores: dict[str, float] = {}
    if options.similarity is not None:
        scores["similarity"], scores["similarity_pairs"] = space.rank_correlation(
            read_word_pairs(options.similarity)
        )
    if options.analogies is not None and analogies:
        questions = [question for part in read_analogies(options.analogies).values() for question in part]
        for method in ("add", "mul"):
            scores[f"analogy_{method}"], scores["analogy_questions"] = space.analogy_accuracy(
                questions, method=method
            )
    return scores


def neighbour_rows(space: WordSpace, words: Sequence[str], *, k: int) -> list[dict[str, Any]]:
    """One row a word: the word, and its nearest words with their cosines.

    Raises:
      ValueError: if a word is unknown, with those that look alike.
    """
    rows = []
    for word in words:
        row: dict[str, Any] = {"word": word}
        for rank, (other, cosine) in enumerate(space.nearest(word, k=k), start=1):
            row |= {f"neighbour{rank}": other, f"cosine{rank}": cosine}
        rows.append(row)
    return rows


def telling_words(vocabulary: Vocabulary, subsample: float | None) -> np.ndarray:
    """Indices of the words of which half the occurrences or more are kept, by falling count; or of all.

    The others, "the" and "of", are neighbours of everything.
    """
    keep = keep_probability(vocabulary.counts, subsample)
    order = np.argsort(-vocabulary.counts, kind="stable")
    telling = order[keep[order] >= 0.5]
    return telling if len(telling) else order


def document_names(names: Sequence[str]) -> list[str]:
    """Names that the formats of word vectors can hold: no blanks, none twice.

    >>> document_names(["a b.txt", "a_b.txt", "c"])
    ['a_b.txt', 'a_b.txt#2', 'c']
    """
    numbers: dict[str, int] = {}
    taken: dict[str, None] = {}
    for name in names:
        found = plain = "_".join(name.split()) or "_"
        number = numbers.get(plain, 1)
        while found in taken:  # "a#2" may be another's own name
            number += 1
            found = f"{plain}#{number}"
        numbers[plain] = number
        taken[found] = None
    return list(taken)


def _joined(row: Mapping[str, Any]) -> str:
    return "  ".join(
        f"{value} {row[name.replace('neighbour', 'cosine')]:.2f}"
        for name, value in row.items()
        if name.startswith("neighbour")
    )


def _tsne(vectors: np.ndarray) -> np.ndarray:
    from sklearn.manifold import TSNE

    perplexity = min(30.0, max((len(vectors) - 1) / 3, 1.0))
    points: np.ndarray = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(_unit(vectors))
    return points


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Directions alone, which cosines compare: a few long vectors would fill the map."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _curves(folder: Path) -> None:
    """Draws what the run logged, if it did: vectors can be reported without a run."""
    log = folder / "metrics.jsonl"
    if log.exists():
        write_curves(folder / "curves.png", read_json_lines(log), title="similarity", metric="similarity")
