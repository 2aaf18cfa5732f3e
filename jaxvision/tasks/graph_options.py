"""The graphs of a run, and what it is trained on, as a script's options."""

import dataclasses
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

Source = Literal["karate", "blocks", "motifs", "planetoid", "csv", "tu"]

_BLOCKS = (100, 100, 100, 100)
_MOTIFS = 400


@dataclasses.dataclass(frozen=True)
class GraphParts:
    """Graphs to train, validate and test on.

    Attributes:
      train: to train on.
      val: to validate on.
      test: to test on.
      everything: all of them.
    """

    train: GraphSet
    val: GraphSet
    test: GraphSet
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

    def open_node_graph(self) -> NodeGraph:
        """The graph of ``--task node`` and ``--task link``.

        Raises:
          FileNotFoundError: if a file is missing.
          ValueError: if the source has no such graph, or a file does not fit.
        """
        if self.source in ("motifs", "tu"):
            raise ValueError(
                f"--data.source {self.source} holds many graphs: give --task graph, or a source of one graph "
                "(karate, blocks, planetoid, csv)"
            )
        data = self._read_node_graph()
        if self.normalize:
            graph = data.graph._replace(nodes=normalise_rows(np.asarray(data.graph.nodes)))
            data = dataclasses.replace(data, graph=graph)
        return data

    def _read_node_graph(self) -> NodeGraph:
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
        if self.source == "motifs":
            everything = motif_graphs(_MOTIFS, rng=rng)
        elif self.source == "tu":
            everything = read_tu_folder(self._root())
        else:
            raise ValueError(f"--data.source {self.source} is one graph: --task graph takes motifs or tu")
        rest, test = stratified_split(everything.labels, self.test_share, rng=rng)
        share = self.val_share / (1 - self.test_share)
        train, val = stratified_split(everything.labels[rest], share, rng=rng)
        first, second, third = (everything.take(chosen) for chosen in (rest[train], rest[val], test))
        return GraphParts(first, second, third, everything)

    def split_links(self, data: NodeGraph) -> EdgeSplit:
        """The edges of a graph in parts, for ``--task link``."""
        rng = np.random.default_rng(self.split_seed)
        return split_edges(data.graph, val_share=self.val_share, test_share=self.test_share, rng=rng)

    def _root(self) -> Path:
        kinds: dict[str, Any] = {"planetoid": "FILE.npz", "csv": "NODES.csv", "tu": "FOLDER"}
        if self.root is None:
            raise ValueError(f"--data.source {self.source} needs --data.root {kinds[self.source]}")
        return self.root
