"""What a run of node vectors leaves behind: the vectors, scores, a map in the colours of the classes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxvision.pictures import plot_labelled_points, principal_plane
from jaxvision.tasks.node_embedding_options import EmbeddingGraph, NodeEmbeddingReport
from jaxvision.tasks.node_embedding_scores import (
    classification_rows,
    link_scores,
    mask_accuracy,
    twin_scores,
)
from jaxvision.tasks.report_files import print_table, write_curves, write_scores, write_table
from jaxvision.tasks.word_report import document_names
from jaxvision.training import read_json_lines
from jaxvision.weights import write_word_vectors

__all__ = ["quick_scores", "write_node_report"]

_QUICK_NODES = 3000  # labelled nodes that an evaluation on the way looks at
_HEADINGS = {
    "share": "share fitted on",
    "micro_f1": "micro F1",
    "micro_f1_std": "+-",
    "macro_f1": "macro F1",
    "macro_f1_std": "+-",
}


def quick_scores(vectors: np.ndarray, data: EmbeddingGraph, *, roles: bool) -> dict[str, float]:
    """Scores on the way: one split of the classes, and one halving of the held-out edges.

    Args:
      vectors: ``[V, D]``.
      data: the graph.
      roles: whether classes are roles in the structure, so that twins are looked at instead.

    Returns:
      ``score``, the first that there is, and each by its name; none where nothing is known.
    """
    scores: dict[str, float] = {}
    if data.has_classes and roles:
        scores["nearest_is_twin"] = twin_scores(vectors, data.labels)["nearest_is_twin"]
    elif data.has_classes:
        chosen = np.flatnonzero(data.labels >= 0)
        chosen = np.random.default_rng(0).permutation(chosen)[:_QUICK_NODES]
        (row,) = classification_rows(vectors[chosen], data.labels[chosen], shares=(0.5,), repeats=1)
        scores["micro_f1"] = row["micro_f1"]
    if data.links is not None:
        scores["hadamard_auc"] = link_scores(vectors, data.links, repeats=1)["hadamard_auc"]
    return {"score": next(iter(scores.values())), **scores} if scores else {}


def write_node_report(
    folder: Path,
    vectors: np.ndarray,
    data: EmbeddingGraph,
    options: NodeEmbeddingReport,
    *,
    roles: bool,
    scores: Mapping[str, Any],
) -> dict[str, Any]:
    """Writes and prints all about the vectors of nodes.

    Writes ``vectors.txt`` and ``vectors.bin`` (word2vec's formats), ``map.png``, ``scores.json``; where
    classes are known and are no roles, ``classification.csv``; and from the run's log, ``curves.png``.

    Args:
      folder: of the run.
      vectors: ``[V, D]``.
      data: the graph.
      options: how it is looked at.
      roles: whether classes are roles in the structure.
      scores: what is known already, to be written with the others.

    Returns:
      All scores.
    """
    found = dict(scores)
    names = document_names(data.names)  # no blanks, which the formats cannot hold
    write_word_vectors(folder / "vectors.txt", names, vectors)
    write_word_vectors(folder / "vectors.bin", names, vectors, format="binary")
    rows: list[dict[str, Any]] = []
    if data.has_classes and roles:
        found |= twin_scores(vectors, data.labels)
    elif data.has_classes:
        shares, repeats = options.shares, options.repeats
        rows = list(classification_rows(vectors, data.labels, shares=shares, repeats=repeats))
        write_table(folder / "classification.csv", rows)
    if data.masks is not None:
        found["mask_accuracy"] = mask_accuracy(vectors, data.labels, *data.masks)
    if data.links is not None:
        found |= link_scores(vectors, data.links)
    write_scores(folder / "scores.json", {**found, "classification": rows})
    _draw_map(folder / "map.png", vectors, data, options)
    log = folder / "metrics.jsonl"
    if log.exists():
        write_curves(folder / "curves.png", read_json_lines(log), title="score", metric="score")
    numbers = {name: float(value) for name, value in found.items() if isinstance(value, int | float)}
    title = f"{folder}: classes by logistic regression" if rows else str(folder)
    shown = [{**row, "share": f"{row['share']:.0%}"} for row in rows]
    if rows:
        print_table(title, shown, numbers, headings=_HEADINGS)
    else:
        print(f"{title}: {'  '.join(f'{name} {value:.4f}' for name, value in numbers.items())}")
    return found


def _draw_map(path: Path, vectors: np.ndarray, data: EmbeddingGraph, options: NodeEmbeddingReport) -> None:
    chosen = np.arange(len(vectors))
    if len(chosen) > options.map_nodes:
        chosen = np.sort(np.random.default_rng(0).permutation(chosen)[: options.map_nodes])
    shown = vectors[chosen]
    points = principal_plane(shown) if options.map == "pca" else _tsne(shown)
    place = np.full(len(vectors), -1)
    place[chosen] = np.arange(len(chosen))
    ends = np.stack([place[np.asarray(data.graph.senders)], place[np.asarray(data.graph.receivers)]], axis=1)
    plot_labelled_points(
        path,
        points,
        data.labels[chosen],
        data.class_names,
        title=f"{len(chosen)} nodes by {'principal components' if options.map == 'pca' else 't-SNE'}",
        names=[data.names[index] for index in chosen],
        edges=ends[(ends >= 0).all(axis=1) & (ends[:, 0] < ends[:, 1])],
    )


def _tsne(vectors: np.ndarray) -> np.ndarray:
    from sklearn.manifold import TSNE

    perplexity = min(30.0, max((len(vectors) - 1) / 3, 1.0))
    points: np.ndarray = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(vectors)
    return points
