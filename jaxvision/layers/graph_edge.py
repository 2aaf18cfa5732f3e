"""Edge convolution of point clouds and other graphs."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxvision.core import Graph
from jaxvision.layers.graph_gin import NodeMLP
from jaxvision.layers.message_passing import (
    Aggregate,
    Edges,
    max_messages,
    mean_messages,
    pass_messages,
    sum_messages,
)
from jaxvision.ops.neighbours import Neighbours

_AGGREGATES: dict[str, Aggregate] = {"max": max_messages, "mean": mean_messages, "sum": sum_messages}


class EdgeConv(nn.Module):
    """A perceptron on every edge's receiver and difference, as PyTorch Geometric's ``EdgeConv``.

    .. math:: x_v' = max_{u \\to v} MLP(x_v, x_u - x_v)

    The perceptron sees both side by side, ``[E, 2 F]``. A node without edges gets zeros.

    Parameters: submodule ``mlp``.

    Attributes:
      mlp: the perceptron.
      aggregator: "max", "mean" or "sum".

    References:
      Wang et al. 2019, *Dynamic Graph CNN for Learning on Point Clouds*, equations 7 and 8.
    """

    mlp: NodeMLP
    aggregator: str = "max"

    @nn.compact
    def __call__(self, graph: Graph, *, neighbours: Neighbours | None = None, train: bool) -> jax.Array:
        """Maps a graph of nodes ``[V, F]`` to ``[V, mlp.features[-1]]``, zeros in the padding.

        Args:
          graph: the graph; its edges' features are not read.
          neighbours: its edges as :func:`jaxvision.ops.plan_neighbours` prepares them, for speed on a CPU.
          train: whether norms of the perceptron take the statistics of these edges.

        Returns:
          New nodes.

        Raises:
          ValueError: if the graph's arrays do not fit together, or the aggregator is unknown.
        """
        if self.aggregator not in _AGGREGATES:
            raise ValueError(f"aggregator: expected one of {list(_AGGREGATES)}, got {self.aggregator!r}")

        def message(edges: Edges) -> jax.Array:
            received = edges.received
            pairs = jnp.concatenate([received, edges.sent - received], -1)  # [E, 2 F]
            return self.mlp(pairs, where=edges.where, train=train)

        return pass_messages(
            graph,
            message=message,
            aggregate=_AGGREGATES[self.aggregator],
            update=lambda nodes, gathered: gathered,
            neighbours=neighbours,
        )
