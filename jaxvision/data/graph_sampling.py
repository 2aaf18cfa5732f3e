"""Neighbour sampling: of a graph that does not fit, only what a few nodes need, in arrays of a fixed size."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxvision.data.graph_batches import Bucket, pad_graph
from jaxvision.data.graph_edits import check_nodes
from jaxvision.data.graphs import HostGraph, host_graph

__all__ = ["NeighbourSampler"]


class NeighbourSampler:
    """Draws the neighbourhood of some nodes: of each at most ``fan_out[k]`` neighbours in hop k.

    What comes is a small graph of its own, always padded to :attr:`bucket`: the seeds first, then the nodes
    that were reached, hop by hop, each once. Its edges are those that were drawn. A network of as many layers
    gives the seeds what it would give them on the whole graph if nothing was left out; but for one that
    looks at degrees, which are cut here, as GCN does: give it a graph of :func:`whole_graph_edges`, whose
    edges carry what is made of the degrees of the whole graph, and ``rescale``.

    Args:
      graph: the whole graph, numpy arrays, which stay on the host.
      fan_out: most neighbours to draw, of the seeds first; of a node that has no more, all are taken.
      seeds: how many nodes a neighbourhood starts from at most.
      keep_loops: take the edges from a node to itself always, beside those that are drawn.
      rescale: multiply the weight of a drawn edge by the number of edges that its node has over the number
        that were drawn, so that a weighted sum over drawn neighbours is that over all of them on average.

    Attributes:
      bucket: V = seeds (1 + f1 + f1 f2 + ...), E = seeds (f1 + f1 f2 + ...), or those of the whole graph
        where they are fewer; with ``keep_loops`` room for the loops of all nodes but those of the last hop.

    Raises:
      ValueError: if a number is below 1, or edges to be rescaled carry no weight.

    References:
      Chen et al. 2018, "Stochastic Training of Graph Convolutional Networks with Variance Reduction": the
      factor of ``rescale`` is that of their estimator by neighbour sampling.

      Hamilton et al. 2017, "Inductive Representation Learning on Large Graphs", section 3.1 and algorithm 2.
      Drawn without replacement, where the paper's code draws a fixed number with it; a node that is reached
      on two ways has its neighbours drawn once.

    >>> from jaxvision.data.graphs import HostGraph, host_graph, make_graph
    >>> ring = make_graph([0, 1, 2, 3], [1, 2, 3, 0], num_nodes=4)
    >>> graph, nodes = NeighbourSampler(ring, [1], seeds=1).draw([2], rng=np.random.default_rng(0))
    >>> nodes.tolist(), graph.senders.tolist(), graph.receivers.tolist()
    ([2, 1], [1], [0])
    """

    def __init__(
        self,
        graph: HostGraph,
        fan_out: Sequence[int],
        *,
        seeds: int,
        keep_loops: bool = False,
        rescale: bool = False,
    ) -> None:
        if seeds < 1 or not fan_out or min(fan_out) < 1:
            raise ValueError(f"fan_out {tuple(fan_out)}, seeds {seeds}: expected numbers of 1 or more")
        if rescale and (graph.edges is None or np.ndim(graph.edges) != 1):
            raise ValueError("rescale: expected a weight [E] an edge; see whole_graph_edges")
        is_loop = keep_loops & (graph.senders == graph.receivers)
        self._loops = np.flatnonzero(graph.where_edges & is_loop)
        real = np.flatnonzero(graph.where_edges & ~is_loop)
        order = real[np.argsort(graph.receivers[real], kind="stable")]
        self._graph = graph
        self._edges = order  # edge numbers, receiver by receiver
        counts = np.bincount(graph.receivers[order], minlength=len(graph.nodes))
        self._ends = np.cumsum(counts)
        self._counts = counts
        self._fan_out = tuple(fan_out)
        self._seeds = seeds
        self._rescale = rescale
        reached = seeds * np.cumprod(fan_out)  # new nodes of each hop at most, and edges as well
        nodes = min(seeds + int(reached.sum()), len(graph.nodes))
        loops = min(seeds + int(reached[:-1].sum()), len(self._loops))
        self.bucket = Bucket(max(nodes, seeds), max(min(int(reached.sum()), len(order)) + loops, 1))

    def draw(self, nodes: Any, *, rng: np.random.Generator) -> tuple[HostGraph, np.ndarray]:
        """Draws the neighbourhood of nodes.

        Args:
          nodes: integers ``[n]``, distinct, n at most ``seeds``.
          rng: chooses the neighbours.

        Returns:
          The padded graph, and int64 ``[m]``: which nodes of the whole graph its first m nodes are.

        Raises:
          ValueError: if there are too many nodes, one twice, or one that is not in the graph.
        """
        found = check_nodes(nodes, len(self._graph.nodes), "nodes")
        if len(found) > self._seeds or len(np.unique(found)) != len(found):
            raise ValueError(f"nodes: got {len(found)}, expected at most {self._seeds} and each once")
        number = np.full(len(self._graph.nodes), -1, np.int64)
        number[found] = np.arange(len(found))
        drawn, factors, frontier = [], [], found
        for most in self._fan_out:
            edges, factor = self._draw_edges(frontier, most, rng)
            senders = self._graph.senders[edges]
            fresh = np.unique(senders[number[senders] < 0])
            number[fresh] = len(found) + np.arange(len(fresh))
            found = np.concatenate([found, fresh])
            drawn.append(edges)
            factors.append(factor)
            if len(self._loops):
                own = self._loops[np.isin(self._graph.receivers[self._loops], frontier)]
                drawn.append(own)
                factors.append(np.ones(len(own)))
            frontier = fresh
        part = self._part(found, np.concatenate(drawn), np.concatenate(factors), number)
        return pad_graph(part, self.bucket, name="neighbourhood"), found

    def _part(
        self, nodes: np.ndarray, edges: np.ndarray, factors: np.ndarray, number: np.ndarray
    ) -> HostGraph:
        graph = self._graph
        order = np.argsort(number[graph.receivers[edges]], kind="stable")
        edges = edges[order]
        carried = None if graph.edges is None else graph.edges[edges]
        if self._rescale:
            carried = (carried * factors[order]).astype(np.float32)
        return host_graph(
            nodes=graph.nodes[nodes],
            senders=number[graph.senders[edges]].astype(np.int32),
            receivers=number[graph.receivers[edges]].astype(np.int32),
            where_nodes=np.ones(len(nodes), bool),
            where_edges=np.ones(len(edges), bool),
            graph_ids=np.zeros(len(nodes), np.int32),
            where_graphs=np.ones(1, bool),
            edges=carried,
        )

    def _draw_edges(
        self, nodes: np.ndarray, most: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """At most ``most`` of the edges that end at each node, without replacement, and how few they are."""
        counts = self._counts[nodes]
        owner = np.repeat(np.arange(len(nodes)), counts)
        starts = np.cumsum(counts) - counts
        place = np.arange(len(owner)) - starts[owner]  # 0, 1, ... within each node
        edges = self._edges[(self._ends[nodes] - counts)[owner] + place]
        # A shuffle within each node, all nodes at once: sorted by node, then by a random number.
        shuffled = np.lexsort((rng.random(len(owner)), owner))
        chosen = shuffled[place < most]
        return edges[chosen], (counts / np.clip(counts, 1, most))[owner[chosen]]
