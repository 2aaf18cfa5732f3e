"""One graph whose nodes have classes: Planetoid files, Zachary's karate club, generated block models."""

import dataclasses
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxvision.core import name_some
from jaxvision.data.classification_sources import check_class_names
from jaxvision.data.graph_edits import remove_self_loops, symmetrise
from jaxvision.data.graphs import HostGraph, check_host_graph, make_graph

__all__ = ["NodeGraph", "block_model", "karate_club", "read_planetoid"]

PARTS = ("train", "val", "test")


@dataclasses.dataclass(frozen=True)
class NodeGraph:
    """A graph and the classes of its nodes, of which some are trained on.

    Attributes:
      graph: numpy arrays, without padding.
      labels: integers ``[V]``, class indices; -1 where the class is not known.
      class_names: names by index; none of a graph without classes, whose labels are all -1 and whose masks
        are empty.
      train: bool ``[V]``, nodes to train on.
      val: bool ``[V]``, nodes to validate on.
      test: bool ``[V]``, nodes to test on.
      node_names: V names; by default the numbers.
      feature_names: F names of the features, those of the nodes where each node's feature is itself; or none.

    Raises:
      ValueError: if a size does not fit, a label is no class, a mask is not boolean, two masks share a node,
        a mask holds a node without a label, or there is no node to train on.
    """

    graph: HostGraph
    labels: np.ndarray
    class_names: tuple[str, ...]
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    node_names: Sequence[str] = ()
    feature_names: Sequence[str] = ()

    def __post_init__(self) -> None:
        check_host_graph(self.graph)
        if self.class_names:
            check_class_names(self.class_names, "classes of the nodes")
        num_nodes, num_classes = len(self.graph.nodes), len(self.class_names)
        labels = np.asarray(self.labels)
        if labels.dtype.kind not in "iu" or labels.shape != (num_nodes,):
            raise ValueError(
                f"labels: got {labels.dtype} {list(labels.shape)}, expected integers [V] of {num_nodes} nodes"
            )
        wrong = np.flatnonzero((labels < -1) | (labels >= num_classes))
        if len(wrong):
            raise ValueError(
                f"labels: {labels[wrong[0]]} at node {wrong[0]} ({len(wrong)} such labels), expected "
                f"{f'0..{num_classes - 1}, or ' if num_classes else ''}-1 where the class is not known"
            )
        if len(self.node_names) not in (0, num_nodes):
            raise ValueError(f"node_names: {len(self.node_names)} names of {num_nodes} nodes")
        if len(self.feature_names) not in (0, self.graph.nodes.shape[1]):
            raise ValueError(
                f"feature_names: {len(self.feature_names)} names of {self.graph.nodes.shape[1]} features"
            )
        self._check_masks(labels)

    def _check_masks(self, labels: np.ndarray) -> None:
        masks = {name: np.asarray(getattr(self, name)) for name in PARTS}
        for name, mask in masks.items():
            if mask.dtype != bool or mask.shape != labels.shape:
                raise ValueError(
                    f"{name}: got {mask.dtype} {list(mask.shape)}, expected bool [{len(labels)}]"
                )
            unknown = np.flatnonzero(mask & (labels < 0))
            if len(unknown):
                raise ValueError(
                    f"{name}: node {unknown[0]} has no label ({len(unknown)} such nodes), expected labels"
                )
        for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
            both = np.flatnonzero(masks[first] & masks[second])
            if len(both):
                raise ValueError(
                    f"the masks {first} and {second} overlap: node {both[0]} is in both ({len(both)} such "
                    "nodes), expected each node in one part at most"
                )
        if self.class_names and not masks["train"].any():
            raise ValueError("train: the mask is empty, expected at least one node to train on")

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def part_names(self) -> list[str]:
        """The part of each node: "train", "val", "test", or "" for none."""
        names = np.full(len(self.labels), "", "U5")
        for part in PARTS:
            names[getattr(self, part)] = part
        return names.tolist()


def read_planetoid(path: str | Path) -> NodeGraph:
    """Reads Cora, Citeseer or Pubmed in one .npz file, with their public split.

    Arrays: ``feat_indptr``, ``feat_indices`` and ``feat_shape``, the features in compressed rows, of value 1
    or of ``feat_data`` if that is there; ``labels`` ``[V]``; ``edge_index`` ``[2, E]``, each undirected edge
    once (or twice); ``train_mask``, ``val_mask`` and ``test_mask``, bool ``[V]``. Equal edges are merged,
    self loops are left out; a node without edges, or without features, is fine (Citeseer has both).

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is no .npz file or damaged, lacks an array, or holds one that does not fit.

    References:
      Yang et al. 2016, "Revisiting Semi-Supervised Learning with Graph Embeddings": the split.
    """
    path = Path(path)
    needed = (
        *("feat_indptr", "feat_indices", "feat_shape", "labels", "edge_index"),
        *("train_mask", "val_mask", "test_mask"),
    )
    arrays = _read_arrays(path, needed)
    try:
        features = _dense_rows(arrays)
        edges = np.asarray(arrays["edge_index"])
        if edges.ndim != 2 or edges.shape[0] != 2:
            raise ValueError(f"edge_index: got {list(edges.shape)}, expected [2, E]")
        graph = symmetrise(remove_self_loops(make_graph(edges[0], edges[1], nodes=features)))
        labels = np.asarray(arrays["labels"])
        if labels.dtype.kind not in "iu" or labels.shape != (len(features),):
            raise ValueError(
                f"labels: got {labels.dtype} {list(labels.shape)}, expected integers [{len(features)}]"
            )
        count = max(int(labels.max(initial=-1)) + 1, 0)
        return NodeGraph(
            graph,
            labels.astype(np.int32),
            tuple(f"class {index}" for index in range(count)),
            arrays["train_mask"],
            arrays["val_mask"],
            arrays["test_mask"],
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read_arrays(path: Path, needed: Sequence[str]) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("no .npz file")
        with np.load(path) as file:
            missing = [name for name in needed if name not in file.files]
            if missing:
                raise ValueError(
                    f"no {', '.join(missing)} among {name_some(file.files, limit=12) or 'no arrays'}"
                )
            return {name: file[name] for name in file.files}
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: {error}; expected an .npz file in the layout of Planetoid") from error


def _dense_rows(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Features in compressed rows -> float32 ``[V, F]``."""
    ends, columns = np.asarray(arrays["feat_indptr"]), np.asarray(arrays["feat_indices"])
    shape = np.asarray(arrays["feat_shape"])
    if shape.shape != (2,) or shape.dtype.kind not in "iu" or shape.min() < 0:
        raise ValueError(f"feat_shape: got {shape.tolist()}, expected the two sizes of the features")
    num_nodes, num_features = map(int, shape)
    kinds = ends.dtype.kind + columns.dtype.kind
    if ends.shape != (num_nodes + 1,) or columns.ndim != 1 or any(kind not in "iu" for kind in kinds):
        raise ValueError(
            f"feat_indptr: got {ends.dtype} {list(ends.shape)}, feat_indices {columns.dtype} "
            f"{list(columns.shape)}, expected integers [{num_nodes + 1}] and [n]"
        )
    counts: np.ndarray = np.diff(ends.astype(np.int64))
    if ends[0] != 0 or ends[-1] != len(columns) or np.any(counts < 0):
        raise ValueError(f"feat_indptr: expected numbers that rise from 0 to {len(columns)}, one row each")
    if len(columns) and (columns.min() < 0 or columns.max() >= num_features):
        raise ValueError(
            f"feat_indices: from {columns.min()} to {columns.max()}, expected 0..{num_features - 1}"
        )
    values = np.asarray(arrays.get("feat_data", np.ones(len(columns), np.float32)))
    if values.shape != columns.shape:
        raise ValueError(f"feat_data: got {list(values.shape)}, expected [{len(columns)}]")
    features = np.zeros((num_nodes, num_features), np.float32)
    features[np.repeat(np.arange(num_nodes), counts), columns] = values
    return features


_KARATE_TIES = (
    (0, (1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 17, 19, 21, 31)),
    (1, (2, 3, 7, 13, 17, 19, 21, 30)),
    (2, (3, 7, 8, 9, 13, 27, 28, 32)),
    (3, (7, 12, 13)),
    (4, (6, 10)),
    (5, (6, 10, 16)),
    (6, (16,)),
    (8, (30, 32, 33)),
    (9, (33,)),
    (13, (33,)),
    (14, (32, 33)),
    (15, (32, 33)),
    (18, (32, 33)),
    (19, (33,)),
    (20, (32, 33)),
    (22, (32, 33)),
    (23, (25, 27, 29, 32, 33)),
    (24, (25, 27, 31)),
    (25, (31,)),
    (26, (29, 33)),
    (27, (33,)),
    (28, (31, 33)),
    (29, (32, 33)),
    (30, (32, 33)),
    (31, (32, 33)),
    (32, (33,)),
)
"""Who met whom outside the club: members from 0, each tie once (Zachary 1977, figure 1)."""

_WITH_THE_INSTRUCTOR = (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 16, 17, 19, 21)
"""The members who followed the instructor when the club split (Zachary 1977, table 3)."""


def karate_club() -> NodeGraph:
    """Zachary's karate club: 34 members, 78 ties, and the two clubs that it fell apart into.

    Features are one-hot numbers of the members. Trained on are the two leaders alone, the instructor (0) and
    the officer (33); every fourth of the others is validated on, the rest is tested on.

    References:
      Zachary 1977, "An Information Flow Model for Conflict and Fission in Small Groups". Two leaders as the
      only labels: Kipf and Welling 2017, appendix A, in the version of the two factions.

    >>> club = karate_club()
    >>> len(club.labels), len(club.graph.senders) // 2, int(club.labels.sum())
    (34, 78, 17)
    """
    pairs = np.array([(one, other) for one, others in _KARATE_TIES for other in others])
    graph = symmetrise(make_graph(pairs[:, 0], pairs[:, 1], nodes=np.eye(34, dtype=np.float32)))
    labels = np.ones(34, np.int32)
    labels[list(_WITH_THE_INSTRUCTOR)] = 0
    train, val = np.zeros((2, 34), bool)
    train[[0, 33]] = True
    val[4:33:4] = True
    return NodeGraph(graph, labels, ("instructor", "officer"), train, val, ~train & ~val)


def block_model(
    sizes: Sequence[int],
    *,
    inside: float = 0.1,
    between: float = 0.01,
    num_features: int = 16,
    noise: float = 2.0,
    train_per_block: int = 10,
    rng: np.random.Generator,
) -> NodeGraph:
    """Draws a stochastic block model: nodes of one block meet more often; features hint at the block.

    Args:
      sizes: nodes of each block, at least 2 blocks.
      inside: probability of an undirected edge between nodes of one block.
      between: probability of one between nodes of different blocks.
      num_features: F.
      noise: standard deviation of the features around the mean of the block, whose entries are of order 1.
      train_per_block: nodes of each block to train on; of the others a third is validated on.
      rng: draws it all.

    Raises:
      ValueError: if there are fewer than 2 blocks, a probability is out of its range, or a block is too small
        to train, validate and test on.

    References:
      Holland et al. 1983, "Stochastic blockmodels: First steps".
    """
    if len(sizes) < 2 or min(sizes) < train_per_block + 3 or train_per_block < 1:
        raise ValueError(
            f"sizes {tuple(sizes)}: expected 2 blocks or more, of {train_per_block + 3} nodes or more each"
        )
    if not (0 <= between <= 1 and 0 <= inside <= 1):
        raise ValueError(f"inside {inside}, between {between}: expected probabilities")
    labels = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    starts = np.cumsum([0, *sizes])
    parts: list[np.ndarray] = []
    for one in range(len(sizes)):
        for other in range(one, len(sizes)):
            probability = inside if one == other else between
            count = rng.binomial(sizes[one] * sizes[other], probability)
            places = rng.choice(sizes[one] * sizes[other], count, replace=False)
            first, second = np.divmod(places, sizes[other])
            if one == other:  # half of the pairs: each undirected pair once, and no loop
                first, second = first[first < second], second[first < second]
            parts.append(np.stack([starts[one] + first, starts[other] + second]))
    pairs: Any = np.concatenate(parts, axis=1)
    means = rng.normal(size=(len(sizes), num_features))
    features = means[labels] + noise * rng.normal(size=(len(labels), num_features))
    graph = symmetrise(make_graph(pairs[0], pairs[1], nodes=features))
    train, val = np.zeros((2, len(labels)), bool)
    for block, size in enumerate(sizes):
        members = starts[block] + rng.permutation(size)
        train[members[:train_per_block]] = True
        val[members[train_per_block : train_per_block + (size - train_per_block) // 3]] = True
    names = tuple(f"block {index}" for index in range(len(sizes)))
    return NodeGraph(graph, labels, names, train, val, ~train & ~val)
