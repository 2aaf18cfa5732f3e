"""From nodes to graphs: readouts, attention and the choice of the best nodes."""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.core import Graph
from jaxvision.layers.initializers import Initializer
from jaxvision.layers.message_passing import check_graph, mask_rows, scale_rows
from jaxvision.layers.recurrent_initializers import uniform_of_width
from jaxvision.ops.segments import segment_max, segment_mean, segment_softmax, segment_sum

_READOUTS = {"sum": segment_sum, "mean": segment_mean, "max": segment_max}
Readout = Literal["sum", "mean", "max"]


def read_out(graph: Graph, nodes: jax.Array, *, readout: Readout) -> jax.Array:
    """Sum, mean or maximum of the nodes of each graph.

    PyTorch Geometric's ``global_add_pool``, ``global_mean_pool`` and ``global_max_pool``.

    Args:
      graph: which nodes belong together, and which are real.
      nodes: ``[V, ...]``, floating.
      readout: "sum", "mean" or "max".

    Returns:
      ``[G, ...]``; zeros for a graph without nodes.

    Raises:
      ValueError: for an unknown readout, or if shapes do not fit.
    """
    check_graph(graph)
    if readout not in _READOUTS:
        raise ValueError(f"readout: expected one of {list(_READOUTS)}, got {readout!r}")
    return _READOUTS[readout](nodes, **_by_graph(graph))


class AttentionReadout(nn.Module):
    """Sum of the nodes of each graph weighted by a learned softmax, as ``AttentionalAggregation``.

    .. math:: y_G = \\sum_v softmax_v(g(x_v)) \\, h(x_v)

    Submodules: ``gate``, a dense layer to one score, and ``value`` if ``features`` is given.

    Attributes:
      features: width of the dense layer ``h``; None for the nodes as they are.
      dtype: dtype of the dense layers; the softmax is float32.

    References:
      Li et al. 2016, *Gated Graph Sequence Neural Networks*, equation 7.
    """

    features: int | None = None
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, graph: Graph) -> jax.Array:
        """Maps a graph of nodes ``[V, F]`` to ``[G, features]``; zeros for a graph without nodes.

        Raises:
          ValueError: if the graph's arrays do not fit together.
        """
        check_graph(graph)
        x = mask_rows(graph.nodes, graph.where_nodes)
        scores = nn.Dense(1, dtype=self.dtype, name="gate")(x).astype(jnp.float32)
        weights = segment_softmax(scores[:, 0], **_by_graph(graph))  # [V]
        if self.features is not None:
            x = nn.Dense(self.features, dtype=self.dtype, name="value")(x)
        return segment_sum(scale_rows(x, weights), **_by_graph(graph))


class TopKPooling(nn.Module):
    """Keeps the nodes of each graph that score best, as PyTorch Geometric's ``TopKPooling``.

    .. math:: s = \\tanh(X p / |p|), \\quad X' = X_{best} \\, s_{best}

    Of ``n`` nodes ``ceil(ratio * n)`` stay, best first within each graph, with the edges between
    them. The sizes of the arrays stay what they are: what is left out becomes padding.

    Parameter, float32: ``direction`` ``[F]``.

    Attributes:
      ratio: share of the nodes that stay, above 0 and at most 1.
      multiplier: factor of the nodes that stay.
      direction_init: initialiser of ``p``; None for uniform in ±``1 / sqrt(F)``.

    References:
      Gao and Ji 2019, *Graph U-Nets*, equation 2; Cangea et al. 2018, *Towards Sparse Hierarchical Graph
      Classifiers*, section 2.2, whose tanh this is (the former has a sigmoid).
    """

    ratio: float = 0.5
    multiplier: float = 1.0
    direction_init: Initializer | None = None

    @nn.compact
    def __call__(self, graph: Graph) -> tuple[Graph, jax.Array]:
        """Maps a graph of nodes ``[V, F]`` to the graph of those that stay.

        Returns:
          The graph, and the old index of each of its nodes ``[V]``, int32; of the padding it is any.

        Raises:
          ValueError: if the ratio is out of range or the graph's arrays do not fit together.
        """
        if not 0 < self.ratio <= 1:
            raise ValueError(f"ratio: expected above 0 and at most 1, got {self.ratio}")
        check_graph(graph)
        x = mask_rows(graph.nodes, graph.where_nodes)
        init = uniform_of_width(x.shape[-1]) if self.direction_init is None else self.direction_init
        direction = self.param("direction", init, x.shape[-1:], jnp.float32)
        scores = jnp.tanh((x.astype(jnp.float32) @ direction) / jnp.linalg.norm(direction))  # [V]
        order, count = _best_first(graph, scores, self.ratio)
        nodes = scale_rows(x[order], self.multiplier * scores[order])
        return _keep_nodes(graph, nodes, order, count), order


def _best_first(graph: Graph, scores: jax.Array, ratio: float) -> tuple[jax.Array, jax.Array]:
    """Old indices of the nodes, those that stay first, and how many stay."""
    size, graphs = graph.nodes.shape[0], graph.where_graphs.shape[0]
    owners = jnp.where(graph.where_nodes, graph.graph_ids, graphs)  # padding after all graphs
    order = jnp.lexsort((-scores, owners))
    counts = segment_sum(graph.where_nodes.astype(jnp.float32), **_by_graph(graph))
    wanted = jnp.ceil(jnp.float32(ratio) * counts)  # in float32, as in PyTorch: 0.8 of 5 are 4
    sorted_owners = owners[order]
    nth = jnp.arange(size) - jnp.searchsorted(sorted_owners, sorted_owners, side="left")
    stays = nth < wanted.at[sorted_owners].get(mode="fill", fill_value=0)
    first = jnp.argsort(~stays, stable=True)
    return order[first].astype(jnp.int32), stays.sum()


def _keep_nodes(graph: Graph, nodes: jax.Array, order: jax.Array, count: jax.Array) -> Graph:
    """The graph of the first ``count`` nodes in this order, edges that lose an end becoming padding."""
    size, edges = graph.nodes.shape[0], graph.senders.shape[0]
    where_nodes = jnp.arange(size) < count
    places = jnp.zeros(size, jnp.int32).at[order].set(jnp.arange(size, dtype=jnp.int32))
    senders, receivers = places[graph.senders], places[graph.receivers]
    stays = graph.where_edges & where_nodes[senders] & where_nodes[receivers]
    first = jnp.argsort(~stays, stable=True)
    where_edges = jnp.arange(edges) < stays.sum()
    return graph._replace(
        nodes=mask_rows(nodes, where_nodes),
        senders=jnp.where(where_edges, senders[first], size - 1),
        receivers=jnp.where(where_edges, receivers[first], size - 1),
        where_nodes=where_nodes,
        where_edges=where_edges,
        graph_ids=jnp.where(where_nodes, graph.graph_ids[order], graph.where_graphs.shape[0] - 1),
        edges=None if graph.edges is None else mask_rows(graph.edges[first], where_edges),
    )


def _by_graph(graph: Graph) -> dict[str, Any]:
    return {
        "segment_ids": graph.graph_ids,
        "num_segments": graph.where_graphs.shape[0],
        "where": graph.where_nodes,
    }
