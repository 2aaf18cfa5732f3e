"""Graph convolution of Kipf and Welling."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax.typing import DTypeLike

from jaxvision.core import Graph
from jaxvision.layers.initializers import Initializer, xavier_uniform
from jaxvision.layers.message_passing import (
    Edges,
    WeightedRows,
    edge_weights,
    edges_of,
    in_degrees,
    pass_messages,
    scale_rows,
    sum_messages,
)
from jaxvision.ops.neighbours import Neighbours
from jaxvision.ops.segments import segment_sum


class GCNConv(nn.Module):
    """Graph convolution, as PyTorch Geometric's ``GCNConv``.

    .. math:: X' = D^{-1/2} (A + I) D^{-1/2} X W + b

    with ``A[v, u]`` the weight of the edge from ``u`` to ``v`` (the graph's ``edges``, ones without) and
    ``D`` the sums of the rows of ``A + I``. A node that has an edge to itself keeps that edge's weight and
    gets no other; of several the last one counts. The product with ``W`` comes before or after the sum over
    neighbours, wherever rows are shorter.

    Parameters, float32: ``kernel`` ``[F, features]`` and ``bias`` ``[features]``.

    Attributes:
      features: width of the output.
      normalize: whether to divide by the roots of the degrees; else the weights are taken as they are and no
        loops are added.
      self_loops: whether every node sends itself a message.
      loop_weight: weight of the loops that are added; 2 is PyTorch Geometric's ``improved=True``.
      use_bias: whether to add a bias.
      kernel_init: initialiser of the kernel.
      bias_init: initialiser of the bias.
      dtype: dtype of the computation and the result; by default that of the nodes and the parameters
        together. Sums over neighbours and degrees are float32 at least.

    References:
      Kipf and Welling 2017, *Semi-Supervised Classification with Graph Convolutional Networks*, equation 2. A
      degree of zero or less, which weights can give, counts as infinite: its node neither sends nor receives.
    """

    features: int
    normalize: bool = True
    self_loops: bool = True
    loop_weight: float = 1.0
    use_bias: bool = True
    kernel_init: Initializer = xavier_uniform()
    bias_init: Initializer = nn.initializers.zeros_init()
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, graph: Graph, *, neighbours: Neighbours | None = None) -> jax.Array:
        """Maps a graph of nodes ``[V, F]`` to ``[V, features]``, zeros in the padding.

        Raises:
          ValueError: if the graph's arrays do not fit together, or an edge has more than one feature.
        """
        x = edges_of(graph, neighbours).nodes
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features), jnp.float32)
        bias = self.param("bias", self.bias_init, (self.features,), jnp.float32) if self.use_bias else None
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        is_narrower = self.features <= x.shape[-1]
        graph = graph._replace(nodes=x @ kernel if is_narrower else x)

        def update(gathered: jax.Array) -> jax.Array:
            y = gathered if is_narrower else gathered @ kernel  # [V, features]
            return y if bias is None else y + bias[None]

        if not self.normalize:
            return pass_messages(
                graph,
                message=lambda edges: WeightedRows(edges.nodes, edge_weights(edges)),
                aggregate=sum_messages,
                update=lambda nodes, gathered: update(gathered),
                neighbours=neighbours,
            )
        graph, weights, loops = self._adjacency(graph, neighbours)
        scale = inverse_root(_row_sums(edges_of(graph, neighbours), weights) + loops)  # [V]
        return pass_messages(
            graph,
            message=lambda edges: WeightedRows(scale_rows(edges.nodes, scale), weights),
            aggregate=sum_messages,
            update=lambda nodes, gathered: update(
                scale_rows(gathered + scale_rows(nodes, scale * loops), scale)
            ),
            neighbours=neighbours,
        )

    def _adjacency(
        self, graph: Graph, neighbours: Neighbours | None
    ) -> tuple[Graph, jax.Array | None, jax.Array]:
        """The graph without loops, its weights, and the loops' weights apart, ``[V]``."""
        edges = edges_of(graph, neighbours)
        weights = edge_weights(edges)
        if not self.self_loops:
            return graph, weights, jnp.zeros(edges.nodes.shape[:1], jnp.float32)
        is_loop = edges.senders == edges.receivers
        last = last_loops(edges)
        if weights is not None:
            # One more weight at the end: that of nodes without a loop.
            every = jnp.append(weights, jnp.asarray(self.loop_weight, weights.dtype))
            own = every[jnp.where(last >= 0, last, weights.shape[0])]
            return graph, jnp.where(is_loop, 0, weights), own
        own = jnp.where(last >= 0, 1.0, self.loop_weight)
        if neighbours is None:
            return graph._replace(where_edges=edges.where & ~is_loop), None, own
        return graph, None, own - neighbours.loop_counts  # the plan's sums have the loops in them


def last_loops(edges: Edges) -> jax.Array:
    """The last edge from each node to itself ``[V]``, int32; -1 where there is none."""
    if edges.neighbours is not None:
        return edges.neighbours.last_loops
    is_loop = edges.where & (edges.senders == edges.receivers)
    numbers = jnp.where(is_loop, jnp.arange(is_loop.shape[0], dtype=jnp.int32), -1)
    return jnp.full(edges.nodes.shape[0], -1, jnp.int32).at[edges.receivers].max(numbers)


def _row_sums(edges: Edges, weights: jax.Array | None) -> jax.Array:
    """Sum of the weights of the edges to each node, ``[V]``, float32."""
    if weights is None:
        return in_degrees(edges)
    return segment_sum(weights.astype(jnp.float32), **edges.by_receiver())


def inverse_root(degrees: jax.Array) -> jax.Array:
    """``1 / sqrt(degrees)``; zeros where a degree is not positive."""
    is_positive = degrees > 0
    return jnp.where(is_positive, jax.lax.rsqrt(jnp.where(is_positive, degrees, 1)), 0)
