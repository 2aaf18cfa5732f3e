"""What vectors of nodes know: classes by logistic regression, and edges that were held out."""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxvision.core import Graph
from jaxvision.data import sample_negatives, stratified_split
from jaxvision.data.graph_edits import edge_keys
from jaxvision.graph import EDGE_OPERATORS, edge_features

__all__ = [
    "LinkSplit",
    "classification_rows",
    "hold_out_edges",
    "link_scores",
    "mask_accuracy",
    "twin_scores",
]

_ITERATIONS = 1000  # of the logistic regression's solver


def classification_rows(
    vectors: np.ndarray,
    labels: np.ndarray,
    *,
    shares: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9),
    repeats: int = 10,
    seed: int = 0,
) -> list[dict[str, float]]:
    """The protocol of DeepWalk and node2vec: one-vs-rest logistic regression on a share of the nodes.

    Of each class the same share is trained on (the papers draw without regard to classes, which at small
    shares may leave one out); the scores are over all other labelled nodes.

    Args:
      vectors: ``[V, D]``.
      labels: integers ``[V]``; -1 for a node that has none. Classes of one node are left out.
      shares: of the nodes to train on.
      repeats: splits of each share.
      seed: of the splits.

    Returns:
      One row a share: ``share``, and the means and standard deviations over the splits of the F1 scores:
      ``micro_f1``, ``micro_f1_std``, ``macro_f1`` and ``macro_f1_std``.

    Raises:
      ValueError: if a share is not between 0 and 1, or there are no two classes of two nodes.

    References:
      Perozzi et al. 2014, *DeepWalk*, section 6.1; Grover and Leskovec 2016, *node2vec*, section 4.3.
    """
    vectors, labels = _labelled(vectors, labels)
    rows = []
    for share in shares:
        if not 0 < share < 1:
            raise ValueError(f"shares: got {share}, expected shares above 0 and below 1")
        scores = np.array(
            [
                _f1_scores(vectors, labels, share, np.random.default_rng((seed, repeat)))
                for repeat in range(repeats)
            ]
        )
        mean, spread = scores.mean(axis=0), scores.std(axis=0)
        rows.append(
            {
                "share": share,
                "micro_f1": float(mean[0]),
                "micro_f1_std": float(spread[0]),
                "macro_f1": float(mean[1]),
                "macro_f1_std": float(spread[1]),
            }
        )
    return rows


def _labelled(vectors: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    vectors, labels = np.asarray(vectors, np.float64), np.asarray(labels)
    if len(vectors) != len(labels):
        raise ValueError(f"labels: got {len(labels)} for {len(vectors)} vectors, expected one each")
    counts = np.bincount(labels[labels >= 0], minlength=1)
    kept = (labels >= 0) & (counts[labels] >= 2)
    if len(np.unique(labels[kept])) < 2:
        raise ValueError("labels: expected two classes or more with two nodes each, to be told apart")
    return vectors[kept], labels[kept]


def _f1_scores(
    vectors: np.ndarray, labels: np.ndarray, share: float, rng: np.random.Generator
) -> tuple[float, float]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score
    from sklearn.multiclass import OneVsRestClassifier

    train, test = stratified_split(labels, 1 - share, rng=rng)
    model = OneVsRestClassifier(LogisticRegression(max_iter=_ITERATIONS))
    predicted = _fitted(model, vectors[train], labels[train]).predict(vectors[test])
    micro, macro = (
        float(f1_score(labels[test], predicted, average=average, zero_division=0))
        for average in ("micro", "macro")
    )
    return micro, macro


def _fitted(model: Any, features: np.ndarray, targets: np.ndarray) -> Any:
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():  # vectors that no plane separates better: the scores say so
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(features, targets)


def mask_accuracy(vectors: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    """Accuracy on given nodes of a logistic regression on given others: as ``Node2Vec.test`` of PyG.

    Args:
      vectors: ``[V, D]``.
      labels: integers ``[V]``.
      train: bool ``[V]``.
      test: bool ``[V]``.

    Raises:
      ValueError: if the nodes to train on are of one class, or there are none to test on.
    """
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(labels[train])) < 2 or not test.any():
        raise ValueError(
            f"expected nodes of two classes to train on, and some to test on; got {train.sum()} and "
            f"{test.sum()}"
        )
    model = _fitted(LogisticRegression(max_iter=_ITERATIONS), vectors[train], labels[train])
    return float(model.score(vectors[test], labels[test]))


class LinkSplit(NamedTuple):
    """A graph without some of its edges.

    Attributes:
      graph: numpy arrays; whoever was joined by some way still is.
      edges: int32 ``[P, 2]``, held out, each once.
      others: int32 ``[P, 2]``, pairs of nodes that were no edge.
    """

    graph: Graph
    edges: np.ndarray
    others: np.ndarray


def hold_out_edges(graph: Graph, share: float, *, rng: np.random.Generator) -> LinkSplit:
    """Takes undirected edges out of a graph without cutting any component in two.

    Args:
      graph: numpy arrays, without padding; each edge stands both ways.
      share: of the edges, above 0 and below 1.
      rng: chooses edges and others.

    Raises:
      ValueError: if the share is out of its range, an edge stands one way only, fewer than 2 edges would be
        held out (to fit a classifier of pairs and to score it), or so many cannot be taken out: the others
        are what holds the graph together.

    References:
      Grover and Leskovec 2016, section 4.4: half of the edges, the rest connected, as many pairs without.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import minimum_spanning_tree

    if not 0 < share < 1:
        raise ValueError(f"share of edges to hold out: got {share}, expected above 0 and below 1")
    size = len(graph.nodes)
    senders, receivers = np.asarray(graph.senders), np.asarray(graph.receivers)
    known = np.unique(edge_keys(senders, receivers, size))
    if not np.array_equal(known, np.unique(edge_keys(receivers, senders, size))):
        raise ValueError("edges to hold out: an edge stands one way only, expected an undirected graph")
    pairs = np.unique(np.sort(np.stack([senders, receivers], axis=1)[senders != receivers], axis=1), axis=0)
    # A spanning forest of random weights, which are not 0, for that would be no edge.
    weights = rng.uniform(1, 2, len(pairs))
    forest = minimum_spanning_tree(csr_array((weights, tuple(pairs.T)), shape=(size, size))).tocoo()
    low, high = np.sort(np.stack([forest.row, forest.col]), axis=0)
    free = pairs[~np.isin(edge_keys(pairs[:, 0], pairs[:, 1], size), edge_keys(low, high, size))]
    count = round(share * len(pairs))
    _check_count(count, len(pairs), len(free))
    chosen = rng.permutation(free)[:count].astype(np.int32)
    first, second = chosen.T
    gone = np.concatenate([edge_keys(first, second, size), edge_keys(second, first, size)])
    kept = ~np.isin(edge_keys(senders, receivers, size), gone)
    arrays: dict[str, Any] = {
        "senders": senders[kept],
        "receivers": receivers[kept],
        "where_edges": np.asarray(graph.where_edges)[kept],
        "edges": None if graph.edges is None else np.asarray(graph.edges)[kept],
    }
    # The sampler counts free pairs; loops are none.
    loops = edge_keys(np.arange(size), np.arange(size), size)
    others = sample_negatives(np.setdiff1d(known, loops), size, count, rng=rng, distinct=True)
    return LinkSplit(graph._replace(**arrays), chosen, others)


def _check_count(count: int, pairs: int, free: int) -> None:
    """Checks that so many edges can be held out, to fit a classifier of pairs and to score it."""
    if count < 2:
        raise ValueError(
            f"edges to hold out: {count} of {pairs}, expected 2 or more, one to fit a classifier and one to "
            "score it; raise the share, or take a larger graph"
        )
    if count > free:
        raise ValueError(
            f"edges to hold out: {count} of {pairs}, but {free} can be spared before the graph falls apart; "
            "lower the share"
        )


def link_scores(
    vectors: np.ndarray, split: LinkSplit, *, repeats: int = 5, seed: int = 0
) -> dict[str, float]:
    """Area under the ROC curve of telling held-out edges from other pairs, by each of node2vec's operators.

    A logistic regression on the pairs' features, scaled to unit variance, is fitted to half of the pairs and
    scored on the others.

    Args:
      vectors: ``[V, D]``, learned without the held-out edges.
      split: edges and others.
      repeats: of the halving.
      seed: of the halvings.

    Returns:
      ``hadamard_auc``, ``average_auc``, ``l1_auc`` and ``l2_auc``, means over the repeats.

    Raises:
      ValueError: if there are fewer than 2 edges, or vectors lack a node.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    pairs = np.concatenate([split.edges, split.others])
    targets = np.repeat([1, 0], [len(split.edges), len(split.others)])
    if min(len(split.edges), len(split.others)) < 2:
        raise ValueError(f"split: {len(split.edges)} edges held out, expected 2 or more, to fit and to score")
    if pairs.max() >= len(vectors):
        raise ValueError(f"vectors: got {len(vectors)}, expected one of each node, up to {pairs.max()}")
    scores = {}
    for operator in EDGE_OPERATORS:
        ends = (np.asarray(vectors, np.float32)[pairs[:, side]] for side in (0, 1))
        features = np.asarray(edge_features(*ends, operator=operator), np.float64)
        found = []
        for repeat in range(repeats):
            rng = np.random.default_rng((seed, repeat))
            fitted, scored = stratified_split(targets, 0.5, rng=rng)
            model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=_ITERATIONS))
            _fitted(model, features[fitted], targets[fitted])
            found.append(roc_auc_score(targets[scored], model.decision_function(features[scored])))
        scores[f"{operator}_auc"] = float(np.mean(found))
    return scores


def twin_scores(vectors: np.ndarray, roles: np.ndarray) -> dict[str, float]:
    """How near nodes of one role are to each other, beside all others: for graphs whose roles are known.

    Args:
      vectors: ``[V, D]``.
      roles: integers ``[V]``; -1 for a node that has none.

    Returns:
      ``twin_distance`` and ``other_distance``: means of the Euclidean distances of pairs of one role, and of
      different roles; and ``nearest_is_twin``, the share of the nodes with a twin that have one as their
      nearest neighbour.

    Raises:
      ValueError: if no two nodes share a role, or all do.
    """
    known = np.asarray(roles) >= 0
    vectors, roles = np.asarray(vectors, np.float64)[known], np.asarray(roles)[known]
    squares = np.sum(vectors * vectors, axis=1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares[None, :] - 2 * vectors @ vectors.T, 0.0))
    same = roles[:, None] == roles[None, :]
    apart = ~np.eye(len(roles), dtype=bool)
    twins, others = same & apart, ~same
    if not twins.any() or not others.any():
        raise ValueError("roles: expected two nodes of one role, and two of different roles")
    nearest = np.where(apart, distances, np.inf).argmin(axis=1)
    has_twin = twins.any(axis=1)
    return {
        "twin_distance": float(distances[twins].mean()),
        "other_distance": float(distances[others].mean()),
        "nearest_is_twin": float(twins[has_twin, nearest[has_twin]].mean()),
    }
