"""The graphs of a run, and what it is trained on, as a script's options."""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxvision.data import (
    EdgeSplit,
    GraphSet,
    NodeGraph,
    block_model,
    karate_club,
    motif_graphs,
    normalise_rows,
    read_graph_csv,
    read_planetoid,
    read_tu_folder,
    split_edges,
    stratified_split,
)
from jaxvision.tasks.graph_networks import GraphModelOptions

Source = Literal["karate", "blocks", "motifs", "planetoid", "csv", "tu"]

_BLOCKS = (100, 100, 100, 100)
_MOTIFS = 400


@dataclasses.dataclass(frozen=True)
class GraphLossOptions:
    """What is minimised beside the cross entropy."""

    l2: float = 5e-4
    """Strength of the L2 penalty on matrices: half the sum of squares."""
    l2_layers: tuple[str, ...] = ("conv0",)
    """Path patterns of the parameters that it is on; none for all."""


@dataclasses.dataclass(frozen=True)
class GraphParts:
    """Graphs to train, validate and test on.

    Attributes:
      train: positions of those to train on, integers.
      val: of those to validate on.
      test: of those to test on.
      everything: all of them.
    """

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    everything: GraphSet


@dataclasses.dataclass(frozen=True)
class GraphData:
    """The graphs."""

    source: Source = "karate"
    """karate: Zachary's club, embedded. blocks: a generated block model. planetoid: Cora, Citeseer or Pubmed
    as one .npz file. csv: own nodes and edges. For --task graph: motifs, generated; tu: a folder of TU."""
    root: Path | None = None
    """The .npz file, the CSV file of nodes, or the folder."""
    edges: Path | None = None
    """CSV file of edges; by default edges.csv beside that of the nodes."""
    directed: bool = False
    """Edges in the CSV file run from source to target alone."""
    edge_features: Literal["auto", "use", "drop"] = "auto"
    """What edges carry, weights or features. auto: into the network if it reads them, else left out, which is
    said. use: it is an error if the network does not read them. drop: left out. gcn, chebnet and dcnn read
    weights; gat, gatv2 and monet read weights and features; the others read neither."""
    normalize: bool = False
    """Divide the features of each node by their sum, as the papers do with bags of words."""
    val_share: float = 0.2
    """Share to validate on, where the data names no parts: nodes and graphs of each class, or edges."""
    test_share: float = 0.2
    """Share to test on, likewise."""
    split_seed: int = 0
    """Of what goes into which part, and of generated data."""
    batch_size: int = 32
    """Graphs a step, or with --data.fan-out nodes a step, over all devices."""
    fan_out: tuple[int, ...] = ()
    """Train on drawn neighbourhoods, not on the whole graph: most neighbours in each hop, such as 10 10."""
    bucket: tuple[int, int] | None = None
    """Nodes and edges that the graphs of a step are padded to, on each device; by default what the largest
    batch needs."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"--data.batch-size: got {self.batch_size}, expected 1 or more")
        if self.fan_out and min(self.fan_out) < 1:
            raise ValueError(f"--data.fan-out: got {self.fan_out}, expected numbers of 1 or more")

    def open_node_graph(self, *, needs_labels: bool = True) -> NodeGraph:
        """The graph of ``--task node`` and ``--task link``.

        Args:
          needs_labels: whether classes and parts are read from own files.

        Raises:
          FileNotFoundError: if a file is missing.
          ValueError: if the source has no such graph, or a file does not fit.
        """
        if self.source in ("motifs", "tu"):
            raise ValueError(
                f"--data.source {self.source} holds many graphs: give --task graph, or a source of one graph "
                "(karate, blocks, planetoid, csv)"
            )
        data = self._read_node_graph(needs_labels)
        if needs_labels and not data.num_classes:
            raise ValueError(
                f"--data.root {self.root}: no node has a label, expected classes to learn; give labels, or "
                "--task link, which needs none"
            )
        if self.normalize:
            graph = data.graph._replace(nodes=normalise_rows(np.asarray(data.graph.nodes)))
            data = dataclasses.replace(data, graph=graph)
        return data

    def _read_node_graph(self, needs_labels: bool) -> NodeGraph:
        if self.source == "karate":
            return karate_club()
        if self.source == "blocks":
            return block_model(_BLOCKS, rng=np.random.default_rng(self.split_seed))
        root = self._root()
        if self.source == "planetoid":
            return read_planetoid(root)
        return read_graph_csv(
            root,
            root.parent / "edges.csv" if self.edges is None else self.edges,
            needs_labels=needs_labels,
            directed=self.directed,
            val_share=self.val_share,
            test_share=self.test_share,
            split_seed=self.split_seed,
        )

    def open_graph_set(self) -> GraphParts:
        """The graphs of ``--task graph``.

        Raises:
          FileNotFoundError: if a file is missing.
          ValueError: if the source has one graph only, or a file does not fit.
        """
        rng = np.random.default_rng(self.split_seed)
        everything = self._read_graphs(rng)
        split = functools.partial(stratified_split, rng=rng, class_names=everything.class_names)
        rest, test = split(everything.labels, self.test_share)
        train, val = split(everything.labels[rest], self.val_share / (1 - self.test_share))
        return GraphParts(rest[train], rest[val], test, everything)

    def open_graphs(
        self, *, needs_labels: bool = True, encoding: Mapping[str, Any] | None = None
    ) -> GraphSet:
        """All graphs of ``--task graph``.

        Args:
          needs_labels: whether classes are read from own files.
          encoding: of the graphs that a network was trained on, see :func:`jaxvision.data.read_tu_folder`.

        Raises:
          FileNotFoundError: if a file is missing.
          ValueError: if the source has one graph only, or a file does not fit.
        """
        rng = np.random.default_rng(self.split_seed)
        return self._read_graphs(rng, needs_labels=needs_labels, encoding=encoding)

    def _read_graphs(
        self,
        rng: np.random.Generator,
        *,
        needs_labels: bool = True,
        encoding: Mapping[str, Any] | None = None,
    ) -> GraphSet:
        if self.source == "motifs":
            return motif_graphs(_MOTIFS, rng=rng)
        if self.source == "tu":
            return read_tu_folder(self._root(), needs_labels=needs_labels, encoding=encoding)
        raise ValueError(f"--data.source {self.source} is one graph: --task graph takes motifs or tu")

    def keeps_edges(self, shape: tuple[int, ...] | None, model: GraphModelOptions) -> bool:
        """Whether what edges carry goes into the network; says so where it is left out.

        Args:
          shape: of one edge's features: ``()`` for a weight, ``(D,)``, or None where edges carry nothing.
          model: the network.

        Raises:
          ValueError: if it is to go into a network that does not read it.
        """
        if shape is None or self.edge_features == "drop":
            return False
        if model.reads_edges(shape):
            return True
        what = "weights" if shape in ((), (1,)) else f"{shape[0]} features"
        if self.edge_features == "use":
            raise ValueError(
                f"--data.edge-features use: edges carry {what}, which --model.name {model.name} does not "
                "read; leave them out by --data.edge-features drop, or take gat, gatv2 or monet"
                f"{', or gcn, chebnet or dcnn' if what == 'weights' else ''}"
            )
        print(
            f"edges carry {what}, which {model.name} does not read: they are left out (--data.edge-features "
            "drop says so too)"
        )
        return False

    def split_links(self, data: NodeGraph) -> EdgeSplit:
        """The edges of a graph in parts, for ``--task link``."""
        rng = np.random.default_rng(self.split_seed)
        return split_edges(data.graph, val_share=self.val_share, test_share=self.test_share, rng=rng)

    def _root(self) -> Path:
        kinds: dict[str, Any] = {"planetoid": "FILE.npz", "csv": "NODES.csv", "tu": "FOLDER"}
        if self.root is None:
            raise ValueError(f"--data.source {self.source} needs --data.root {kinds[self.source]}")
        return self.root
