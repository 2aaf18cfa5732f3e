"""Diffusion convolution: what random walks of growing length meet, weighted by hop and feature."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.core import Graph
from jaxvision.layers.initializers import Initializer, xavier_uniform
from jaxvision.layers.message_passing import (
    WeightedRows,
    edge_weights,
    edges_of,
    pass_messages,
    scale_rows,
    sum_messages,
)
from jaxvision.ops.neighbours import Neighbours
from jaxvision.ops.segments import segment_sum


class DiffusionConv(nn.Module):
    """Diffusion convolution of DCNN.

    .. math:: Z_{vjf} = g(W_{jf} \\, (P^j X)_{vf})

    with ``P`` the transition matrix: row ``v`` of the adjacency divided by the sum of its weights, so that
    ``P X`` is the weighted mean of what comes in. Of a whole graph the paper takes the mean over its nodes
    before ``g``: with ``activation=None``, a ``readout`` of "mean" and ``g`` behind it that is the same.

    Parameter, float32: ``kernel`` ``[H, F]``, one number a hop and feature.

    Attributes:
      num_hops: length H of the series of powers.
      first_hop: the first power; 0 begins with the node's own features, 1 with its neighbours'.
      activation: ``g``; None for none.
      kernel_init: initialiser of the kernel.
      dtype: dtype of the result; by default that of the nodes and the parameters together. Sums over
        neighbours are float32 at least.

    References:
      Atwood and Towsley 2016, *Diffusion-Convolutional Neural Networks*, equations 1 to 4. The paper's powers
      are a series of H; whether it begins with ``P^0`` is ``first_hop``. A node that nothing comes to has
      zeros.
    """

    num_hops: int
    first_hop: int = 0
    activation: Callable[[jax.Array], jax.Array] | None = jnp.tanh
    kernel_init: Initializer = xavier_uniform()
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, graph: Graph, *, neighbours: Neighbours | None = None) -> jax.Array:
        """Maps a graph of nodes ``[V, F]`` to ``[V, H * F]``, hop after hop, zeros in the padding.

        Raises:
          ValueError: if the graph's arrays do not fit together, an edge has more than one feature, or a
            number of hops is out of range.
        """
        if self.num_hops < 1 or self.first_hop < 0:
            raise ValueError(
                f"num_hops, first_hop: expected at least 1 and 0, got {self.num_hops} and {self.first_hop}"
            )
        edges = edges_of(graph, neighbours)
        x, weights = edges.nodes, edge_weights(edges)
        ones = jnp.ones(edges.senders.shape, jnp.float32)
        total = segment_sum(ones if weights is None else weights.astype(jnp.float32), **edges.by_receiver())
        inverse = jnp.where(total != 0, 1 / jnp.where(total != 0, total, 1), 0)  # [V]
        powers = []
        for hop in range(self.first_hop + self.num_hops):
            if hop:
                x = pass_messages(
                    graph._replace(nodes=x),
                    message=lambda edges: WeightedRows(edges.nodes, weights),
                    aggregate=sum_messages,
                    update=lambda nodes, gathered: scale_rows(gathered, inverse),
                    neighbours=neighbours,
                )
            powers.append(x)
        series = jnp.stack(powers[self.first_hop :], 1)  # [V, H, F]
        kernel = self.param("kernel", self.kernel_init, series.shape[1:], jnp.float32)
        y = series * jnp.broadcast_to(kernel[None], series.shape)
        y = y if self.activation is None else self.activation(y)
        y = y.astype(y.dtype if self.dtype is None else self.dtype).reshape(
            -1, series.shape[1] * series.shape[2]
        )  # [V, H F]
        return jnp.where(jnp.broadcast_to(graph.where_nodes[:, None], y.shape), y, 0)
