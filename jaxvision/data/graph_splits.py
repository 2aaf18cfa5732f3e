"""Parts of a graph: nodes to train, validate and test on, and edges held out for link prediction."""

import dataclasses

import numpy as np

from jaxvision.core import Graph
from jaxvision.data.graph_edits import edge_keys, remove_self_loops, symmetrise
from jaxvision.data.splits import stratified_split

__all__ = ["EdgeSplit", "sample_negatives", "split_edges", "split_nodes"]


def split_nodes(
    labels: np.ndarray, val_share: float, test_share: float, *, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Splits the labelled nodes in three, with the same share of each class in every part.

    Args:
      labels: integers ``[V]``; a negative one is no label, and its node is in no part.
      val_share: share of each class to validate on.
      test_share: share of each class to test on.
      rng: chooses the nodes.

    Returns:
      Masks to train, validate and test on, bool ``[V]`` each.

    Raises:
      ValueError: if a share is out of its range, or a class has too few nodes to be split.
    """
    labelled = np.flatnonzero(labels >= 0)
    rest, test = stratified_split(labels[labelled], test_share, rng=rng)
    train, val = stratified_split(labels[labelled][rest], val_share / (1 - test_share), rng=rng)
    masks = np.zeros((3, len(labels)), bool)
    for mask, chosen in zip(masks, (rest[train], rest[val], test), strict=True):
        mask[labelled[chosen]] = True
    return masks[0], masks[1], masks[2]


@dataclasses.dataclass(frozen=True)
class EdgeSplit:
    """A graph without some of its edges, and pairs of nodes to tell edges from.

    Attributes:
      graph: what messages run over: the edges that are not held out, both ways.
      train: int32 ``[P, 2]``, the edges of ``graph``, each once.
      val: held-out edges to validate on.
      test: held-out edges to test on.
      val_negatives: as many pairs that are no edge of the whole graph; none of them to test on.
      test_negatives: likewise.
      known: int64, ascending: ``edge_keys`` of all edges of the whole graph, both ways.
    """

    graph: Graph
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    val_negatives: np.ndarray
    test_negatives: np.ndarray
    known: np.ndarray


def split_edges(
    graph: Graph, *, val_share: float = 0.05, test_share: float = 0.1, rng: np.random.Generator
) -> EdgeSplit:
    """Holds out edges of a graph to predict, and draws as many pairs that are none.

    Directions are dropped first, and self loops: a pair is an edge or it is not.

    Args:
      graph: of numpy arrays.
      val_share: share of the undirected edges to validate on.
      test_share: share to test on.
      rng: chooses edges and pairs.

    Raises:
      ValueError: if a share is out of its range, an edge cannot be left for every part, or there are too few
        pairs without an edge.

    References:
      Kipf and Welling 2016, "Variational Graph Auto-Encoders", section 4: 5 % and 10 %.
    """
    if min(val_share, test_share) < 0 or val_share + test_share >= 1:
        raise ValueError(
            f"val_share {val_share}, test_share {test_share}: expected 0 or more, together less than 1"
        )
    whole = symmetrise(remove_self_loops(graph))
    num_nodes = len(whole.nodes)
    upper = np.flatnonzero(whole.senders < whole.receivers)
    pairs = np.stack([whole.senders[upper], whole.receivers[upper]], axis=1)  # [P, 2]
    pairs = pairs[rng.permutation(len(pairs))]
    val_count, test_count = (max(round(share * len(pairs)), 1) for share in (val_share, test_share))
    if len(pairs) < val_count + test_count + 1:
        raise ValueError(f"{len(pairs)} edges, expected at least 3: one to train, validate and test on")
    val, test, train = np.split(pairs, [val_count, val_count + test_count])
    known = np.sort(edge_keys(whole.senders, whole.receivers, num_nodes))
    negatives = sample_negatives(known, num_nodes, val_count + test_count, rng=rng, distinct=True)
    kept = np.isin(
        edge_keys(whole.senders, whole.receivers, num_nodes),
        np.concatenate([edge_keys(*train.T, num_nodes), edge_keys(*train.T[::-1], num_nodes)]),
    )
    message = whole._replace(
        senders=whole.senders[kept],
        receivers=whole.receivers[kept],
        where_edges=whole.where_edges[kept],
        edges=None if whole.edges is None else whole.edges[kept],
    )
    return EdgeSplit(message, train, val, test, negatives[:val_count], negatives[val_count:], known)


def sample_negatives(
    known: np.ndarray, num_nodes: int, count: int, *, rng: np.random.Generator, distinct: bool = False
) -> np.ndarray:
    """Draws pairs of two different nodes that are no edge.

    Args:
      known: int64, ascending: ``edge_keys`` of the edges, both ways.
      num_nodes: V.
      count: pairs.
      rng: chooses them, each with the same probability.
      distinct: no pair comes twice, in neither direction.

    Returns:
      int32 ``[count, 2]``.

    Raises:
      ValueError: if there are not that many.

    >>> path = np.array([1, 3, 5, 7])  # 0 - 1 - 2 as keys of 3 nodes
    >>> sorted(sample_negatives(path, 3, 1, rng=np.random.default_rng(0))[0].tolist())
    [0, 2]
    """
    free = num_nodes * (num_nodes - 1) // 2 - len(known) // 2
    if count and free < (count if distinct else 1):
        raise ValueError(f"{free} pairs of {num_nodes} nodes have no edge, expected {count} to choose from")
    found = np.zeros((0, 2), np.int64)
    while len(found) < count:
        drawn = rng.integers(0, num_nodes, (2 * (count - len(found)) + 16, 2))
        keys = edge_keys(drawn[:, 0], drawn[:, 1], num_nodes)
        place = np.minimum(np.searchsorted(known, keys), max(len(known) - 1, 0))
        is_edge = known[place] == keys if len(known) else np.zeros(len(keys), bool)
        found = np.concatenate([found, drawn[(drawn[:, 0] != drawn[:, 1]) & ~is_edge]])
        if distinct:
            low, high = np.sort(found, axis=1).T
            _, first = np.unique(edge_keys(low, high, num_nodes), return_index=True)
            found = found[np.sort(first)]
    return found[:count].astype(np.int32)
