"""Graphs -> batches of one shape, without end for training and each example once for evaluation.

A batch is a dict of numpy arrays whose first axis is D, the number of devices that share it: the fields of a
padded :class:`jaxvision.core.Graph` (``nodes [D, V, F]``, ``senders [D, E]``, ...), and

* ``labels`` int32 and ``where`` bool: ``[D, V]`` of nodes, ``[D, G]`` of graphs, or ``[D, M]`` of pairs;
* ``pairs`` int32 ``[D, M, 2]``, for link prediction;
* of one whole graph, without a D, ``neighbours``: what :func:`jaxvision.ops.plan_neighbours` prepared; and
  where most features are 0, ``nonzero`` int32 ``[n]``: positions in ``nodes.reshape(-1)`` of the others, for
  :func:`jaxvision.ops.dropout_nonzero`.

A training batch is a function of its number and the seed alone, so its number is the position of a run.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jaxvision.data.graph_batches import (
    Bucket,
    batch_bucket,
    graph_arrays,
    join_graphs,
    pad_graph,
    stack_graphs,
)
from jaxvision.data.graph_sampling import NeighbourSampler
from jaxvision.data.graph_sets import GraphSet
from jaxvision.data.graph_splits import EdgeSplit, sample_negatives
from jaxvision.data.graphs import HostGraph
from jaxvision.data.node_graphs import NodeGraph
from jaxvision.data.whole_graph_edges import WholeGraphEdges, whole_graph_edges
from jaxvision.ops.neighbours import plan_neighbours

__all__ = ["FullGraphNodes", "GraphSetBatches", "LinkBatches", "NumberedBatches", "SampledNodes"]

NO_LABEL = -1  # of padding
_SPARSE = 0.1  # share of features that are not 0, below which only these are dropped out

Batch = dict[str, Any]


class NumberedBatches(Iterator[Batch]):
    """Batches without end, made from their numbers.

    Args:
      make: ``number -> batch``.
    """

    def __init__(self, make: Callable[[int], Batch]) -> None:
        self._make = make
        self._next_batch = 0

    def __next__(self) -> Batch:
        batch = self._make(self._next_batch)
        self._next_batch += 1
        return batch

    def get_state(self) -> dict[str, int]:
        """The position, for a checkpoint."""
        return {"next_batch": self._next_batch}

    def set_state(self, state: dict[str, int]) -> None:
        """Goes to a position that :meth:`get_state` gave."""
        self._next_batch = int(state["next_batch"])

    def close(self) -> None:
        """Nothing is open."""


class FullGraphNodes:
    """All nodes of one graph at once; a part is "train", "val" or "test", and every batch of it is the same.

    Args:
      data: the graph.
      edge_multiple: edges are padded to a multiple of this, the number of devices that share them.
      plan: add ``neighbours``, what makes sums over neighbours fast on one CPU.
      nonzero: add ``nonzero`` where most features are 0.
    """

    def __init__(
        self, data: NodeGraph, *, edge_multiple: int = 1, plan: bool = False, nonzero: bool = False
    ) -> None:
        self.data = data
        self.batch_size = 1
        self._arrays = _whole_graph(data.graph, edge_multiple, plan=plan)
        features = self._arrays["nodes"]
        places = np.flatnonzero(features)
        if nonzero and len(places) < _SPARSE * features.size and features.size < 2**31:
            self._arrays["nonzero"] = places.astype(np.int32)
        self._labels = np.asarray(data.labels, np.int32)[None]
        self._parts: dict[str, Batch] = {}

    def batch(self, part: str) -> Batch:
        """The graph, with ``where`` True at the nodes of a part; the arrays are the same at every call."""
        if part not in self._parts:
            where = np.ones_like(self.data.train) if part == "all" else getattr(self.data, part)
            self._parts[part] = {**self._arrays, "labels": self._labels, "where": where[None]}
        return self._parts[part]

    def batches(self, part: str, *, seed: int) -> NumberedBatches:
        """The part again and again; the seed changes nothing."""
        batch = self.batch(part)
        return NumberedBatches(lambda number: batch)

    def ordered_batches(self, part: str) -> list[Batch]:
        """The part once; "all" for every node."""
        return [self.batch(part)]


class SampledNodes:
    """Some nodes a step, each with a drawn neighbourhood: for graphs that do not fit.

    Args:
      data: the graph.
      fan_out: most neighbours in each hop, see :class:`NeighbourSampler`.
      batch_size: nodes a step, over all devices.
      edges: what the network makes of degrees, which a neighbourhood cuts: taken of the whole graph by
        :func:`whole_graph_edges`, and weights rescaled to the edges that were drawn. None for a network that
        looks at no degrees.
      shards: D, the number of devices that share a step.
      seed: of the neighbourhoods that evaluations draw.

    Attributes:
      graph: the whole graph, with what its edges carry here.
      bucket: the sizes of each device's part.

    Raises:
      ValueError: if a number is below 1, or the devices cannot share a batch.
    """

    def __init__(
        self,
        data: NodeGraph,
        fan_out: tuple[int, ...],
        *,
        batch_size: int,
        edges: WholeGraphEdges | None = None,
        shards: int = 1,
        seed: int = 0,
    ) -> None:
        _check_shards(batch_size, shards)
        self.data = data
        self.batch_size = batch_size
        self._shards = shards
        self._seed = seed
        self.graph = data.graph if edges is None else whole_graph_edges(data.graph, edges)
        self._sampler = NeighbourSampler(
            self.graph,
            fan_out,
            seeds=batch_size // shards,
            keep_loops=edges == "gcn",
            rescale=edges in ("gcn", "chebyshev"),
        )
        self.bucket = self._sampler.bucket

    def batches(self, part: str, *, seed: int) -> NumberedBatches:
        """Shuffled batches of a part; what is left of an epoch goes into the next one's first batch."""
        targets = np.flatnonzero(getattr(self.data, part))
        order = _EndlessOrder(len(targets), seed)

        def make(number: int) -> Batch:
            rng = np.random.default_rng([seed, 1, number])
            return self._draw(targets[order.places(number, self.batch_size)], rng)

        return NumberedBatches(make)

    def ordered_batches(self, part: str) -> Iterator[Batch]:
        """Every node of a part once, in order; "all" for every node. The draws are the same each time."""
        where = np.ones_like(self.data.train) if part == "all" else getattr(self.data, part)
        targets = np.flatnonzero(where)
        for number, start in enumerate(range(0, len(targets), self.batch_size)):
            rng = np.random.default_rng([self._seed, 0, number])
            yield self._draw(targets[start : start + self.batch_size], rng)

    def _draw(self, targets: np.ndarray, rng: np.random.Generator) -> Batch:
        share = self.batch_size // self._shards
        graphs, labels, where = [], [], []
        for start in range(0, self.batch_size, share):
            own = np.unique(targets[start : start + share])  # where an epoch ends, one may come twice
            graph, _ = self._sampler.draw(own, rng=rng)
            graphs.append(graph)
            is_target = np.arange(self.bucket.nodes) < len(own)
            label = np.full(self.bucket.nodes, NO_LABEL, np.int32)
            label[: len(own)] = self.data.labels[own]
            labels.append(label)
            where.append(is_target)
        arrays = graph_arrays(stack_graphs(graphs))
        return {**arrays, "labels": np.stack(labels), "where": np.stack(where)}


class GraphSetBatches:
    """Some whole graphs a step, padded to one bucket.

    Args:
      everything: all graphs, of all parts: the bucket holds any batch of them, or of at least half of them.
      batch_size: graphs a step, over all devices.
      shards: D, the number of devices that share a step.
      bucket: nodes and edges of each device's part; by default those of the worst batch.

    Attributes:
      bucket: the sizes of each device's part.

    Raises:
      ValueError: if the devices cannot share a batch.
      BucketError: if a graph alone is larger than the bucket.
    """

    def __init__(
        self,
        everything: GraphSet,
        *,
        batch_size: int,
        shards: int = 1,
        bucket: tuple[int, int] | None = None,
    ) -> None:
        _check_shards(batch_size, shards)
        self.batch_size = batch_size
        self._shards = shards
        share = batch_size // shards
        if bucket is None:
            # A batch in which an epoch ends may hold a graph twice; one larger than the set, often.
            copies = 2 if len(everything.graphs) >= 2 * share else share
            self.bucket = batch_bucket([*everything.graphs] * copies, share)
        else:
            self.bucket = Bucket(*bucket, share)
            for index, graph in enumerate(everything.graphs):
                pad_graph(graph, self.bucket, name=f"graph {index}")

    def batches(self, source: GraphSet, *, seed: int) -> NumberedBatches:
        """Shuffled batches; what is left of an epoch after its last full batch goes into the next.

        Raises:
          BucketError: while iterating, if the graphs of a batch together are larger than a given bucket.
        """
        order = _EndlessOrder(len(source), seed)

        def make(number: int) -> Batch:
            return self._batch(source, order.places(number, self.batch_size), f"batch {number}")

        return NumberedBatches(make)

    def ordered_batches(self, source: GraphSet) -> Iterator[Batch]:
        """Every graph once, in order."""
        for start in range(0, len(source), self.batch_size):
            places = np.arange(start, min(start + self.batch_size, len(source)))
            yield self._batch(source, places, f"batch from graph {start}")

    def _batch(self, source: GraphSet, places: np.ndarray, name: str) -> Batch:
        share = self.batch_size // self._shards
        blank = source.graphs[0]._replace(**_nothing(source.graphs[0]))
        graphs, labels = [], []
        for start in range(0, self.batch_size, share):
            own = places[start : start + share]
            joined = join_graphs([source.graphs[int(place)] for place in own]) if len(own) else blank
            graphs.append(pad_graph(joined, self.bucket, name=name))
            label = np.full(share, NO_LABEL, np.int32)
            label[: len(own)] = source.labels[own]
            labels.append(label)
        arrays = graph_arrays(stack_graphs(graphs))
        return {**arrays, "labels": np.stack(labels), "where": arrays["where_graphs"]}


class LinkBatches:
    """The graph of an edge split, and pairs of nodes: edges, and as many pairs that are none.

    Negatives to train on are drawn anew for every step; those of the other parts are those of the split.

    Args:
      split: the graph and its pairs.
      edge_multiple: edges are padded to a multiple of this, the number of devices that share them.
      plan: add ``neighbours``, what makes sums over neighbours fast on one CPU.
    """

    def __init__(self, split: EdgeSplit, *, edge_multiple: int = 1, plan: bool = False) -> None:
        self.split = split
        self.batch_size = 1
        self._arrays = _whole_graph(split.graph, edge_multiple, plan=plan)

    def batches(self, part: str, *, seed: int) -> NumberedBatches:
        """The edges of a part and new negatives, again and again."""
        known, num_nodes = self.split.known, len(self.split.graph.nodes)
        positives = getattr(self.split, part)

        def make(number: int) -> Batch:
            rng = np.random.default_rng([seed, number])
            negatives = sample_negatives(known, num_nodes, len(positives), rng=rng)
            return self._batch(positives, negatives)

        return NumberedBatches(make)

    def ordered_batches(self, part: str) -> list[Batch]:
        """The pairs of a part once: "val" or "test"."""
        return [self._batch(getattr(self.split, part), getattr(self.split, f"{part}_negatives"))]

    def _batch(self, positives: np.ndarray, negatives: np.ndarray) -> Batch:
        pairs = np.concatenate([positives, negatives])[None]  # [1, M, 2]
        labels = (np.arange(len(pairs[0])) < len(positives)).astype(np.int32)[None]
        return {**self._arrays, "pairs": pairs, "labels": labels, "where": np.ones_like(labels, bool)}


class _EndlessOrder:
    """Epoch after epoch, each shuffled anew, as one endless row of places."""

    def __init__(self, size: int, seed: int) -> None:
        self._size = size
        self._seed = seed
        self._kept: dict[int, np.ndarray] = {}

    def places(self, number: int, count: int) -> np.ndarray:
        """The places of a batch: int64 ``[count]``."""
        positions = np.arange(number * count, (number + 1) * count)
        epochs = np.unique(positions // self._size)
        self._kept = {int(epoch): self._order(int(epoch)) for epoch in epochs}
        return np.concatenate(
            [self._kept[int(e)][positions[positions // self._size == e] % self._size] for e in epochs]
        )

    def _order(self, epoch: int) -> np.ndarray:
        kept = self._kept.get(epoch)
        return np.random.default_rng([self._seed, 0, epoch]).permutation(self._size) if kept is None else kept


def _whole_graph(graph: HostGraph, edge_multiple: int, *, plan: bool) -> Batch:
    """The graph as the one part of a batch."""
    edges = max(-(-len(graph.senders) // edge_multiple), 1) * edge_multiple
    graph = pad_graph(graph, Bucket(len(graph.nodes), edges, len(graph.where_graphs)))
    arrays: Batch = {name: array[None] for name, array in graph_arrays(graph).items()}
    return {**arrays, "neighbours": plan_neighbours(graph)} if plan else arrays


def _nothing(graph: HostGraph) -> dict[str, Any]:
    """Every array of a graph, empty."""
    return {name: array[:0] for name, array in graph_arrays(graph).items()}


def _check_shards(batch_size: int, shards: int) -> None:
    if batch_size < 1 or shards < 1 or batch_size % shards:
        raise ValueError(
            f"batch_size {batch_size} on {shards} devices: expected a positive multiple of the devices"
        )
