"""Graph isomorphism network: the sum of neighbours and a perceptron, which tells apart what sums can."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax.typing import DTypeLike

from jaxvision.core import Graph
from jaxvision.layers.initializers import Initializer, he_uniform
from jaxvision.layers.message_passing import WeightedRows, edges_of, pass_messages, sum_messages
from jaxvision.layers.norm import BatchNorm
from jaxvision.ops.neighbours import Neighbours


class _Linear(nn.Module):
    """A dense layer that returns product and bias apart: sums of rows may come between them."""

    features: int
    kernel_init: Initializer
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,), jnp.float32)
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        return x @ kernel, bias


class NodeMLP(nn.Module):
    """Perceptron on the rows of nodes or edges, ReLU between its layers: what is inside of :class:`GINConv`.

    Submodules: ``dense{i}``, and ``norm{i}`` behind each but the last.

    Attributes:
      features: widths of its layers.
      norm: whether each layer but the last is batch-normalised before its ReLU.
      kernel_init: initialiser of the kernels; biases start as zeros.
      dtype: dtype of the computation.
    """

    features: Sequence[int]
    norm: bool = False
    kernel_init: Initializer = he_uniform(negative_slope=5**0.5)
    dtype: DTypeLike | None = None

    def setup(self) -> None:
        """Makes the layers."""
        if not self.features:
            raise ValueError("features: expected the width of at least one layer, got none")
        self.dense = [
            _Linear(width, self.kernel_init, self.dtype, name=f"dense{index}")
            for index, width in enumerate(self.features)
        ]
        count = len(self.features) - 1 if self.norm else 0
        self.norms = [BatchNorm(dtype=self.dtype, name=f"norm{index}") for index in range(count)]

    def __call__(self, x: jax.Array, *, where: jax.Array | None = None, train: bool) -> jax.Array:
        """Maps ``[V, F]`` to ``[V, features[-1]]``.

        Args:
          x: rows, floating.
          where: True where a row counts in the norms' statistics ``[V]``, bool; None for everywhere.
          train: whether norms take the statistics of these rows, and update the running ones.

        Returns:
          The rows.
        """
        product, bias = self.first(x)
        return self.rest(product + bias[None], where=where, train=train)

    def first(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Product of the first layer ``[V, features[0]]``, and its bias, which is still to be added."""
        product, bias = self.dense[0](x)
        return product, bias

    def rest(self, x: jax.Array, *, where: jax.Array | None = None, train: bool) -> jax.Array:
        """What follows the first layer, from ``[V, features[0]]`` on; arguments as of the whole."""
        for index, dense in enumerate(self.dense[1:]):
            if self.norm:
                x = self.norms[index](x, where=where, train=train)
            product, bias = dense(nn.relu(x))
            x = product + bias[None]
        return x


class GINConv(nn.Module):
    """Graph isomorphism layer, as PyTorch Geometric's ``GINConv``.

    .. math:: x_v' = MLP((1 + \\epsilon) x_v + \\sum_{u \\to v} x_u)

    Where the perceptron's first layer is narrower than the nodes, its product comes before the sum.

    Parameters: submodule ``mlp``; with ``learn_epsilon`` ``epsilon`` ``[]``, float32.

    Attributes:
      mlp: the perceptron.
      epsilon: weight of the node itself beyond 1, or where it starts.
      learn_epsilon: whether it is learned; the paper's GIN-epsilon, else its GIN-0.

    References:
      Xu et al. 2019, *How Powerful are Graph Neural Networks?*, equation 4.1.
    """

    mlp: NodeMLP
    epsilon: float = 0.0
    learn_epsilon: bool = False

    @nn.compact
    def __call__(self, graph: Graph, *, neighbours: Neighbours | None = None, train: bool) -> jax.Array:
        """Maps a graph of nodes ``[V, F]`` to ``[V, mlp.features[-1]]``, zeros in the padding.

        Args:
          graph: the graph; its edges' features are not read.
          neighbours: its edges as :func:`jaxvision.ops.plan_neighbours` prepares them, for speed on a CPU.
          train: whether norms of the perceptron take the statistics of these nodes.

        Returns:
          New nodes.

        Raises:
          ValueError: if the graph's arrays do not fit together.
        """
        x = edges_of(graph, neighbours).nodes
        own = jnp.asarray(1 + self.epsilon, jnp.float32)
        if self.learn_epsilon:
            own = 1 + self.param("epsilon", nn.initializers.constant(self.epsilon), (), jnp.float32)
        where = graph.where_nodes
        is_narrower = self.mlp.features[0] <= x.shape[-1]
        sent, bias = self.mlp.first(x) if is_narrower else (x, None)

        def update(nodes: jax.Array, gathered: jax.Array) -> jax.Array:
            total = own.astype(nodes.dtype) * nodes + gathered
            if bias is None:
                return self.mlp(total, where=where, train=train)
            return self.mlp.rest(total + bias[None], where=where, train=train)

        return pass_messages(
            graph._replace(nodes=sent),
            message=lambda edges: WeightedRows(edges.nodes),
            aggregate=sum_messages,
            update=update,
            neighbours=neighbours,
        )
