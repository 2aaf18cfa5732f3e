"""The graph, the method and the training of vectors of nodes, as a script's options."""

import dataclasses
import functools
import math
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import optax

from jaxvision.core import Graph
from jaxvision.data import NodeGraph, barbell_graph, block_model, karate_club, read_edge_list, read_planetoid
from jaxvision.data.edge_lists import EdgeList, read_node_labels
from jaxvision.graph import (
    Line,
    WalkGraph,
    context_graph,
    random_walks,
    structural_distances,
    structural_walks,
)
from jaxvision.graph.walks import check_walk
from jaxvision.optimizers import poly_schedule
from jaxvision.sequence import Word2Vec
from jaxvision.tasks.node_embedding import Walk
from jaxvision.tasks.node_embedding_scores import LinkSplit, hold_out_edges

__all__ = [
    "EmbeddingGraph",
    "NodeEmbeddingData",
    "NodeEmbeddingModel",
    "NodeEmbeddingReport",
    "NodeEmbeddingTraining",
]

_ALL_PAIRS = 1000  # nodes of a graph whose pairs are all compared
_METHODS_OF = {
    "p": ("node2vec",),
    "q": ("node2vec",),
    "order": ("line",),
    "layers": ("struc2vec",),
    "candidates": ("struc2vec",),
    "stay": ("struc2vec",),
    "loss": ("deepwalk", "node2vec", "struc2vec"),
}
"""Methods that read an option which not all of them read."""


class EmbeddingGraph(NamedTuple):
    """A graph to be learned, and what is known of its nodes.

    Attributes:
      graph: numpy arrays, the held-out edges left out.
      names: of the nodes.
      labels: integers ``[V]``; -1 where the class is not known.
      class_names: by index; none where nothing is known.
      masks: nodes to fit a classifier on and to score it on, bool ``[V]`` each, where there are such parts.
      links: the held-out edges, or None.
    """

    graph: Graph
    names: tuple[str, ...]
    labels: np.ndarray
    class_names: tuple[str, ...]
    masks: tuple[np.ndarray, np.ndarray] | None
    links: LinkSplit | None

    @property
    def has_classes(self) -> bool:
        """Whether two classes or more have two nodes or more, as a classifier needs."""
        counts = np.bincount(self.labels[self.labels >= 0], minlength=1)
        return int((counts >= 2).sum()) >= 2


@dataclasses.dataclass(frozen=True)
class NodeEmbeddingData:
    """The graph."""

    source: Literal["karate", "barbell", "blocks", "planetoid", "edges"] = "karate"
    """karate: Zachary's club. barbell: two cliques joined by a path, for struc2vec. blocks: a block model
    drawn by chance. planetoid: Cora, Citeseer or Pubmed in an .npz file. edges: a text file of two nodes a
    line, and a weight or none."""
    root: Path | None = None
    """The file, of planetoid or edges."""
    labels: Path | None = None
    """For edges: a text file of a node and its label in each line; one without is learned all the same."""
    directed: bool = False
    """For edges: each runs from the first node to the second alone."""
    held_out: float = 0.0
    """Share of the edges that are not trained on, to be told from other pairs of nodes by the vectors."""
    clique: int = 10
    """Nodes of each clique of the barbell."""
    path: int = 10
    """Nodes of the barbell's path."""
    blocks: tuple[int, ...] = (60, 60, 60)
    """Nodes of each block of the block model."""
    split_seed: int = 0
    """Of the block model, and of the choice of held-out edges."""

    def open(self) -> EmbeddingGraph:
        """Reads or makes the graph.

        Raises:
          FileNotFoundError: if a file is missing.
          ValueError: if a file is asked for and not given, cannot be read, or the graph has no edge.
        """
        if self.source in ("planetoid", "edges") and self.root is None:
            raise ValueError(f"--data.source {self.source} needs --data.root FILE")
        if not 0 <= self.held_out < 1:
            raise ValueError(f"--data.held-out: got {self.held_out}, expected 0 or more and below 1")
        found = self._read()
        if isinstance(found, NodeGraph):
            names = tuple(found.node_names) or tuple(map(str, range(len(found.labels))))
            masks = None if self.source == "blocks" else (found.train, found.test)
        else:
            names, masks = found.node_names, None
        graph, links = found.graph, None
        if not len(graph.senders):
            raise ValueError(
                f"--data.source {self.source}: {len(names)} nodes and no edge, expected one or more: nodes "
                "are learned from edges"
            )
        if self.held_out:
            links = hold_out_edges(graph, self.held_out, rng=np.random.default_rng(self.split_seed))
            graph = links.graph
        return EmbeddingGraph(graph, names, np.asarray(found.labels), found.class_names, masks, links)

    def _read(self) -> NodeGraph | EdgeList:
        if self.source == "karate":
            return karate_club()
        if self.source == "barbell":
            return barbell_graph(self.clique, self.path)
        if self.source == "blocks":
            return block_model(self.blocks, rng=np.random.default_rng(self.split_seed))
        assert self.root is not None
        if self.source == "planetoid":
            return read_planetoid(self.root)
        edges = read_edge_list(self.root, directed=self.directed)
        return edges if self.labels is None else read_node_labels(self.labels, edges)


@dataclasses.dataclass(frozen=True)
class NodeEmbeddingModel:
    """What is learned from what; an option that the method does not read is an error."""

    method: Literal["deepwalk", "node2vec", "line", "struc2vec"] = "deepwalk"
    """deepwalk: nodes that come near each other in walks. node2vec: in walks biased by p and q. line: nodes
    joined by an edge, or with the same neighbours. struc2vec: nodes alike in structure, wherever they are."""
    loss: Literal["negative", "hierarchical"] = "negative"
    """Negative sampling, or the hierarchical softmax (as DeepWalk's paper has it); not for line."""
    features: int = 128
    """Numbers in a vector."""
    walk_length: int = 80
    """Nodes of a walk, its start among them."""
    window: int = 10
    """Nodes of a walk to either side, at most."""
    negatives: int = 5
    """Noise nodes a pair."""
    p: float = 1.0
    """node2vec: above 1, a walk turns back less often."""
    q: float = 1.0
    """node2vec: above 1, a walk stays near the node before; below 1, it goes outward."""
    order: Literal["first", "second", "both"] = "both"
    """line: the first order, the second, or both with half of the features each."""
    layers: int | None = None
    """struc2vec: distances that are looked at, from 0; by default all, and 5 in a graph of more than 1000
    nodes."""
    candidates: int | None = None
    """struc2vec: others of the nearest degrees that a node is compared with; by default all, and 2 log2(V) in
    a graph of more than 1000 nodes."""
    stay: float = 0.3
    """struc2vec: probability of a step within a layer."""

    def __post_init__(self) -> None:
        try:
            check_walk(self.walk_length, p=self.p, q=self.q)
        except ValueError as error:
            raise ValueError(f"--model: {error}") from error
        if self.walk_length == 1:
            raise ValueError(
                "--model.walk-length: got 1, expected 2 or more: a walk of one node has no context"
            )
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        for name, methods in _METHODS_OF.items():
            if self.method not in methods and getattr(self, name) != defaults[name]:
                raise ValueError(
                    f"--model.{name} {getattr(self, name)}: --model.method {self.method} does not read it; "
                    f"leave it out, or give --model.method {' or '.join(methods)}"
                )

    def word2vec(self, num_nodes: int, *, batch_size: int) -> Word2Vec:
        """The skip-gram that learns from walks."""
        return Word2Vec(
            num_nodes,
            loss=self.loss,
            features=self.features,
            window=min(self.window, self.walk_length - 1),
            negatives=self.negatives,
            batch_size=batch_size,
        )

    def line(self, num_nodes: int, *, batch_size: int) -> Line:
        """The model that learns from edges."""
        return Line(
            num_nodes,
            order=self.order,
            features=self.features,
            negatives=self.negatives,
            batch_size=batch_size,
        )

    def walk(self) -> Walk:
        """How contexts are drawn."""
        if self.method == "struc2vec":
            return functools.partial(structural_walks, length=self.walk_length, stay=self.stay)
        if self.method == "node2vec":
            return functools.partial(random_walks, length=self.walk_length, p=self.p, q=self.q)
        return functools.partial(random_walks, length=self.walk_length)

    def walk_on(self, graph: WalkGraph) -> Any:
        """The graph that contexts are drawn from: of struc2vec, one of its own that takes time to make."""
        if self.method != "struc2vec":
            return graph
        large = graph.num_nodes > _ALL_PAIRS
        some = math.ceil(2 * math.log2(graph.num_nodes)) if large else None
        found = structural_distances(
            graph,
            layers=(5 if large else None) if self.layers is None else self.layers,
            candidates=some if self.candidates is None else self.candidates,
        )
        return context_graph(found, num_nodes=graph.num_nodes)


@dataclasses.dataclass(frozen=True)
class NodeEmbeddingTraining:
    """How it is learned."""

    walks_per_node: int = 10
    """Walks from each node, where --run.steps does not say otherwise."""
    walks_per_step: int | None = None
    """Walks that are drawn and learned in one step; by default one from each node, at most 256."""
    edge_epochs: int = 200
    """line: how often each edge is drawn on average, where --run.steps does not say otherwise."""
    batches_per_step: int = 16
    """line: batches of edges that are drawn and learned in one step."""
    learning_rate: float = 0.025
    """At the start; it falls linearly to 0."""
    batch_size: int | None = None
    """Nodes of walks, or edges, a batch, over all devices; by default a power of 2 below the number of nodes,
    at most 256: in a larger batch each node would come so often that its steps are too many at once."""

    def __post_init__(self) -> None:
        counts = ("walks_per_node", "walks_per_step", "edge_epochs", "batches_per_step", "batch_size")
        for name in counts:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"--train.{name.replace('_', '-')}: got {value}, expected 1 or more")
        rate = self.learning_rate
        if not (math.isfinite(rate) and rate > 0):
            raise ValueError(f"--train.learning-rate: got {rate}, expected a number above 0")

    def batch(self, num_nodes: int) -> int:
        """Nodes of walks, or edges, a batch."""
        return self.batch_size or min(1 << (max(num_nodes, 8).bit_length() - 1), 256)

    def walks(self, num_nodes: int) -> int:
        """Walks a step."""
        return self.walks_per_step or min(num_nodes, 256)

    def steps(self, method: str, *, num_nodes: int, num_edges: int) -> int:
        """Steps of a run that says none."""
        if method == "line":
            return math.ceil(self.edge_epochs * num_edges / (self.batches_per_step * self.batch(num_nodes)))
        return math.ceil(self.walks_per_node * num_nodes / self.walks(num_nodes))

    def schedule(self, *, steps: int) -> optax.Schedule:
        """``step -> learning rate``: linear to 0 at ``steps``."""
        return poly_schedule(self.learning_rate, steps=steps, power=1.0)


@dataclasses.dataclass(frozen=True)
class NodeEmbeddingReport:
    """How the vectors are looked at."""

    shares: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)
    """Shares of the labelled nodes to fit a classifier on."""
    repeats: int = 10
    """Splits of each share."""
    map: Literal["pca", "tsne"] = "pca"
    """How the map is laid: by principal components, or by t-SNE, which takes some time."""
    map_nodes: int = 3000
    """Nodes on the map, at most."""

    def __post_init__(self) -> None:
        for name in ("repeats", "map_nodes"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"--report.{name.replace('_', '-')}: got {getattr(self, name)}, expected 1 or more"
                )
        for share in self.shares:
            if not 0 < share < 1:
                raise ValueError(f"--report.shares: got {share}, expected shares above 0 and below 1")
