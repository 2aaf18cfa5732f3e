"""Edge convolutions along a graph's edges, or those of the nearest points, found anew in every layer."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from jaxvision.core import Graph
from jaxvision.graph.networks import node_logits
from jaxvision.layers import BatchNorm, EdgeConv, NodeMLP
from jaxvision.layers.message_passing import mask_rows
from jaxvision.ops import Neighbours


def nearest_graph(graph: Graph, *, count: int) -> Graph:
    """The graph whose edges run to each node from the nodes of its own graph that are nearest to it.

    Compares all pairs of the batch: memory and work grow with the square of its nodes.

    Args:
      graph: the graph, or a padded batch of graphs; its edges are not read.
      count: senders a node, at most all nodes of a graph. The node itself, at distance 0, is one of them, as
        in the paper's code.

    Returns:
      The same nodes with ``V * count`` edges in the order of their receivers, without features. Indices have
      no derivative; of equally near nodes the first ones are taken.

    Raises:
      ValueError: if ``count`` is below 1.

    >>> true = jnp.ones(3, bool)
    >>> line = Graph(jnp.array([[0.0], [1.0], [5.0]]), jnp.zeros(0, int), jnp.zeros(0, int), true, true[:0],
    ...              jnp.zeros(3, int), true[:1])
    >>> nearest_graph(line, count=2).senders.reshape(3, 2).tolist()
    [[0, 1], [1, 0], [2, 1]]
    """
    if count < 1:
        raise ValueError(f"count: expected 1 or more nearest nodes, got {count}")
    x = lax.stop_gradient(mask_rows(graph.nodes, graph.where_nodes).astype(jnp.float32))
    size = x.shape[0]
    count = min(count, size)
    receivers = jnp.repeat(jnp.arange(size, dtype=jnp.int32), count)
    if size == 0:
        return graph._replace(senders=receivers, receivers=receivers, where_edges=receivers < 0, edges=None)
    squares = jnp.square(x).sum(-1)
    products = jnp.matmul(x, x.T, precision="highest")
    distances = _all_pairs(squares, jnp.add) - 2 * products  # [V, V]
    own = jnp.arange(size)
    distances = distances.at[own, own].set(-jnp.inf)  # rounding must not put another one before itself
    allowed = _all_pairs(graph.graph_ids, jnp.equal) & _all_pairs(graph.where_nodes, jnp.logical_and)
    _, senders = lax.top_k(jnp.where(allowed, -distances, -jnp.inf), count)  # [V, count]
    there = jnp.take_along_axis(allowed, senders, axis=1)
    return graph._replace(
        senders=senders.reshape(-1).astype(jnp.int32),
        receivers=receivers,
        where_edges=there.reshape(-1),
        edges=None,
    )


def _all_pairs(values: jax.Array, combine: Callable[[jax.Array, jax.Array], jax.Array]) -> jax.Array:
    shape = (values.shape[0], values.shape[0])
    return combine(jnp.broadcast_to(values[:, None], shape), jnp.broadcast_to(values[None], shape))


class DGCNN(nn.Module):
    """Network of edge convolutions: the rows of all its layers side by side, or logits of nodes.

    Each layer is a :class:`jaxvision.layers.EdgeConv` with a perceptron of two layers, batch-normalised
    between them, the maximum over edges, batch norm and ReLU. With ``nearest`` its edges are those of the
    nearest nodes by the layer's own input: the dynamic graph of the paper, for points in space (nodes whose
    features are their places). Submodules: ``conv{i}``, ``norm{i}``, and ``head`` for logits.

    Attributes:
      hidden: widths of the layers.
      num_classes: number of classes K of nodes; None for the rows of all layers ``[V, sum of hidden]``.
      nearest: senders of each node; None for the graph's own edges.
      dropout_rate: in front of the head.
      dtype: dtype of the computation; logits are float32.

    References:
      Wang et al. 2019, *Dynamic Graph CNN for Learning on Point Clouds*, sections 3.1 and 4.1. There one
      dense layer, its norm and LeakyReLU are on the edges, before the maximum, and a wide dense layer comes
      before the readout; here the perceptron is one of :class:`jaxvision.layers.GINConv`'s kind.
    """

    hidden: Sequence[int] = (64, 64, 128, 256)
    num_classes: int | None = None
    nearest: int | None = None
    dropout_rate: float = 0.5
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, graph: Graph, *, neighbours: Neighbours | None = None, train: bool) -> jax.Array:
        """Maps a graph of nodes ``[V, F]`` to ``[V, sum of hidden]``, or logits ``[V, K]``.

        Args:
          graph: the graph, or a padded batch of graphs; its edges' features are not read.
          neighbours: its edges prepared by :func:`jaxvision.ops.plan_neighbours`, or None; with ``nearest``
            not read.
          train: whether norms take the statistics of these nodes and edges, and dropout drops (rng
            ``"dropout"``).

        Returns:
          One row a node, zeros in the padding.

        Raises:
          ValueError: if the graph's arrays do not fit together, or there is no layer.
        """
        if not self.hidden:
            raise ValueError("hidden: expected the width of at least one layer, got none")
        x, rows = graph.nodes, []
        for index, width in enumerate(self.hidden):
            own = graph._replace(nodes=x, edges=None)
            if self.nearest is not None:
                own, neighbours = nearest_graph(own, count=self.nearest), None
            mlp = NodeMLP((width, width), norm=True, dtype=self.dtype, parent=None)  # the layer's own
            x = EdgeConv(mlp, name=f"conv{index}")(own, neighbours=neighbours, train=train)
            norm = BatchNorm(dtype=self.dtype, name=f"norm{index}")
            x = mask_rows(nn.relu(norm(x, where=graph.where_nodes, train=train)), graph.where_nodes)
            rows.append(x)
        result = jnp.concatenate(rows, -1)  # [V, sum of hidden]
        if self.num_classes is None:
            return result
        return node_logits(
            result, graph, self.num_classes, dropout_rate=self.dropout_rate, dtype=self.dtype, train=train
        )
