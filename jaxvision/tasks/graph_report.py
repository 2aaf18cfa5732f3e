"""What a run on graphs leaves behind: scores, tables of classes and predictions, pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxvision.data import NodeGraph
from jaxvision.pictures import confusion_picture, force_layout, plot_node_map, principal_plane
from jaxvision.tasks.classification import (
    classification_counts,
    classification_rows,
    classification_scores,
)
from jaxvision.tasks.report_files import print_table, write_scores, write_table

_MOST_PLACED = 800  # nodes; the layout by forces compares all pairs


def write_node_report(folder: Path, data: NodeGraph, logits: np.ndarray) -> None:
    """Writes scores, tables, pictures and predictions of a graph whose nodes were classified.

    Args:
      folder: of the run.
      data: the graph; scored are the nodes to test on, else those to validate on, else those trained on.
      logits: floating ``[V, K]``.
    """
    labels, names = data.labels, data.class_names
    part = next((part for part in ("test", "val", "train") if getattr(data, part).any()), "train")
    chosen = getattr(data, part)
    write_class_report(folder, logits[chosen], labels[chosen], names, noun=f"{part} nodes")
    parts = {"part": data.part_names()}
    write_class_predictions(
        folder / "predictions.csv", name_nodes(data), logits, labels, names, columns=parts
    )
    write_node_map(folder / "map.png", data, logits)


def name_nodes(data: NodeGraph) -> Sequence[str]:
    """Names of the nodes, or their numbers where they have none."""
    return data.node_names or [str(index) for index in range(len(data.labels))]


def write_class_report(
    folder: Path, logits: np.ndarray, labels: np.ndarray, class_names: Sequence[str], *, noun: str
) -> dict[str, float]:
    """Scores logits, and writes ``scores.json``, ``classes.csv`` and ``confusion.png``.

    Args:
      folder: of the run.
      logits: floating ``[N, K]``.
      labels: integers ``[N]``.
      class_names: K names.
      noun: what is classified, such as ``"test nodes"``.

    Returns:
      The scores.
    """
    counts = jax.device_get(jax.jit(classification_counts)(logits, labels))
    scores = classification_scores(counts)
    rows = [
        {name.replace("images", "count"): value for name, value in row.items()}
        for row in classification_rows(counts["confusion"], tuple(class_names))
    ]
    write_scores(folder / "scores.json", scores)
    write_table(folder / "classes.csv", rows)
    confusion_picture(counts["confusion"], folder / "confusion.png", class_names=class_names)
    headings = {name: name.replace("_", " ") for name in rows[0]}
    print_table(f"{folder}: {len(labels)} {noun}", rows, scores, headings=headings)
    return scores


def write_class_predictions(
    path: Path,
    names: Sequence[str],
    logits: np.ndarray,
    labels: np.ndarray | None,
    class_names: Sequence[str],
    *,
    columns: Mapping[str, Sequence[str]],
) -> None:
    """Writes a CSV line for each node, or graph: its name, class, prediction, and how probable that is.

    Args:
      path: of the file.
      names: N names.
      logits: floating ``[N, K]``.
      labels: integers ``[N]``; -1 is written as nothing. None for no such column.
      class_names: K names.
      columns: more columns of N texts, which come after the name.
    """
    probabilities = np.asarray(jax.nn.softmax(logits))
    predicted = probabilities.argmax(axis=1)
    rows: list[dict[str, Any]] = []
    for index, name in enumerate(names):
        label = -1 if labels is None else int(labels[index])
        known = {} if labels is None else {"label": class_names[label] if label >= 0 else ""}
        rows.append(
            {
                "id": name,
                **{column: texts[index] for column, texts in columns.items()},
                **known,
                "prediction": class_names[int(predicted[index])],
                "probability": float(probabilities[index].max()),
            }
        )
    write_table(path, rows)


def write_node_map(path: Path, data: NodeGraph, logits: np.ndarray) -> None:
    """Draws the nodes of a graph by class and prediction.

    A small graph is laid out by its edges, a large one by what the network says of its nodes.

    Args:
      path: of the PNG.
      data: the graph.
      logits: floating ``[V, K]``.
    """
    graph, num_nodes = data.graph, len(data.labels)
    if num_nodes <= _MOST_PLACED:
        places = force_layout(graph.senders, graph.receivers, num_nodes)
    else:
        places = principal_plane(np.asarray(jax.nn.log_softmax(logits)))
    plot_node_map(
        path,
        places,
        labels=data.labels,
        predictions=logits.argmax(axis=1),
        class_names=data.class_names,
        senders=graph.senders,
        receivers=graph.receivers,
        where=data.test,
    )


def write_link_predictions(
    path: Path, pairs: np.ndarray, logits: np.ndarray, labels: np.ndarray, names: Sequence[str]
) -> None:
    """Writes a CSV line for each pair of nodes: whether there is an edge, and how probable it is.

    Args:
      path: of the file.
      pairs: integers ``[M, 2]``.
      logits: floating ``[M]``.
      labels: ``[M]``, 1 for an edge.
      names: of the nodes; empty for their numbers.
    """
    probabilities = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -500, 500)))

    def name(node: int) -> str:
        return names[node] if names else str(node)

    rows = [
        {
            "first": name(int(first)),
            "second": name(int(second)),
            "edge": int(label),
            "probability": float(probability),
        }
        for (first, second), label, probability in zip(pairs, labels, probabilities, strict=True)
    ]
    write_table(path, rows)
