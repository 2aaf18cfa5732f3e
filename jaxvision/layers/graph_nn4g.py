"""Neural network for graphs: hidden layers that see the sums of all earlier ones over the neighbours."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.core import Graph
from jaxvision.layers.initializers import Initializer, xavier_uniform
from jaxvision.layers.message_passing import WeightedRows, edges_of, pass_messages, sum_messages
from jaxvision.ops.neighbours import Neighbours


class NN4G(nn.Module):
    """The hidden layers of NN4G.

    .. math:: x_v^{(1)} = f(W_1 l_v + b_1), \\quad
       x_v^{(k)} = f(W_k l_v + \\sum_{j<k} \\hat W_{kj} \\sum_{u \\to v} x_u^{(j)} + b_k)

    with the nodes' own features ``l_v``. Layer ``k`` so sees ``k - 1`` edges far. The paper adds units one by
    one and trains each with the earlier ones fixed; here a layer has any number of units and all are trained
    at once, ``jax.lax.stop_gradient`` or an optimizer's mask being how to fix some. The paper's output for a
    graph is a dense layer on the ``readout`` ("mean" or "sum") of the result.

    Submodules: ``label{k}`` with a bias and, from the second on, ``context{k}`` without, whose kernel
    ``[features[0] + ... + features[k-1], features[k]]`` holds the ``W_kj`` one below the other.

    Attributes:
      features: number of units of each layer.
      activation: ``f``.
      kernel_init: initialiser of the kernels.
      dtype: dtype of the computation; sums over neighbours are float32 at least.

    References:
      Micheli 2009, *Neural Network for Graphs: A Contextual Constructive Approach*, equations 5 and 6.
    """

    features: Sequence[int]
    activation: Callable[[jax.Array], jax.Array] = jnp.tanh
    kernel_init: Initializer = xavier_uniform()
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, graph: Graph, *, neighbours: Neighbours | None = None) -> jax.Array:
        """Maps a graph of nodes ``[V, F]`` to the states of all layers side by side, zeros in the padding.

        Raises:
          ValueError: if the graph's arrays do not fit together, or there is no layer.
        """
        if not self.features:
            raise ValueError("features: expected the units of at least one layer, got none")
        labels = edges_of(graph, neighbours).nodes
        states: list[jax.Array] = []
        sums: list[jax.Array] = []
        for index, width in enumerate(self.features):
            if states:
                sums.append(_sum_over_neighbours(states[-1], graph, neighbours))
            y = self._dense(f"label{index}", width, use_bias=True)(labels)
            if sums:
                y = y + self._dense(f"context{index}", width, use_bias=False)(jnp.concatenate(sums, -1))
            states.append(self.activation(y))
        result = jnp.concatenate(states, -1)  # [V, sum of features]
        return jnp.where(jnp.broadcast_to(graph.where_nodes[:, None], result.shape), result, 0)

    def _dense(self, name: str, width: int, *, use_bias: bool) -> nn.Dense:
        return nn.Dense(width, use_bias=use_bias, kernel_init=self.kernel_init, dtype=self.dtype, name=name)


def _sum_over_neighbours(x: jax.Array, graph: Graph, neighbours: Neighbours | None) -> jax.Array:
    return pass_messages(
        graph._replace(nodes=x),
        message=lambda edges: WeightedRows(edges.nodes),
        aggregate=sum_messages,
        update=lambda nodes, gathered: gathered,
        neighbours=neighbours,
    )
