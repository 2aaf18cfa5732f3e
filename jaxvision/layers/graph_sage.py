"""GraphSAGE: a node beside the mean, the maximum or a recurrent summary of its neighbours."""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.core import Graph
from jaxvision.layers.initializers import Initializer, he_uniform
from jaxvision.layers.message_passing import (
    Aggregate,
    Edges,
    Messages,
    WeightedRows,
    edges_of,
    max_messages,
    mean_messages,
    pass_messages,
    sum_messages,
)
from jaxvision.layers.recurrent import LSTM
from jaxvision.ops.neighbours import Neighbours

Aggregator = Literal["mean", "sum", "max", "lstm"]


class SAGEConv(nn.Module):
    """GraphSAGE, as PyTorch Geometric's ``SAGEConv``.

    .. math:: x_v' = W_n \\, aggregate_{u \\to v}(x_u) + b + W_r x_v

    which is the paper's one matrix over both side by side. Of the mean and the sum, which are linear, the
    product comes before or after the sum over neighbours, wherever rows are shorter.

    Submodules: ``neighbour`` (its bias is the layer's), ``root`` without bias; with ``project_features``
    ``project``; of "lstm" ``lstm``.

    Attributes:
      features: width of the output.
      aggregator: "mean"; "sum"; "max", element by element; "lstm", the last state of an LSTM over the
        neighbours in the order of the edges (the paper draws an order at random: let who makes the graph do
        so).
      project_features: width of a dense layer with ReLU that neighbours go through first, as in the paper's
        max-pooling aggregator; None for none. PyTorch Geometric's ``project=True`` is F.
      use_root: whether the node itself is part of the sum.
      normalize: whether each row of the output is divided by its Euclidean norm.
      max_neighbours: of "lstm", the longest sequence: later edges of a node are left out. PyTorch Geometric
        runs on over zeros up to the largest degree of the graph; here a sequence ends with the last
        neighbour, and a node without any has zeros.
      use_bias: whether to add a bias.
      kernel_init: initialiser of the kernels.
      bias_init: initialiser of the biases.
      dtype: dtype of the computation and the result; by default that of the nodes and the parameters
        together. Sums over neighbours are float32 at least.

    References:
      Hamilton et al. 2017, *Inductive Representation Learning on Large Graphs*, algorithm 1 and section 3.3.
    """

    features: int
    aggregator: Aggregator = "mean"
    project_features: int | None = None
    use_root: bool = True
    normalize: bool = False
    max_neighbours: int | None = None
    use_bias: bool = True
    kernel_init: Initializer = he_uniform(negative_slope=5**0.5)
    bias_init: Initializer = nn.initializers.zeros_init()
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, graph: Graph, *, neighbours: Neighbours | None = None) -> jax.Array:
        """Maps a graph of nodes ``[V, F]`` to ``[V, features]``, zeros in the padding.

        Raises:
          ValueError: if the graph's arrays do not fit together, the aggregator is unknown, or "lstm" has no
            ``max_neighbours``.
        """
        x = edges_of(graph, neighbours).nodes
        sent = x
        if self.project_features is not None:
            sent = nn.relu(self._dense("project", self.project_features)(x))
        is_linear = self.aggregator in ("mean", "sum")
        is_narrower = is_linear and self.features <= sent.shape[-1]
        dense = self._dense("neighbour", self.features, use_bias=False)
        if is_narrower:
            sent = dense(sent)

        def update(nodes: jax.Array, gathered: jax.Array) -> jax.Array:
            y = gathered if is_narrower else dense(gathered)  # [V, features]
            if self.use_bias:
                bias = self.param("bias", self.bias_init, (self.features,), jnp.float32)
                y = y + bias.astype(y.dtype)[None]
            if self.use_root:
                y = y + self._dense("root", self.features, use_bias=False)(x)
            return _unit_rows(y) if self.normalize else y

        return pass_messages(
            graph._replace(nodes=sent),
            message=self._message,
            aggregate=self._aggregate,
            update=update,
            neighbours=neighbours,
        )

    def _message(self, edges: Edges) -> Messages:
        if self.aggregator in ("mean", "sum"):
            return WeightedRows(edges.nodes)
        return edges.sent

    def _aggregate(self, messages: Messages, edges: Edges) -> jax.Array:
        if self.aggregator != "lstm":
            every: dict[str, Aggregate] = {"mean": mean_messages, "sum": sum_messages, "max": max_messages}
            if self.aggregator not in every:
                raise ValueError(f"aggregator: expected mean, sum, max or lstm, got {self.aggregator!r}")
            return every[self.aggregator](messages, edges)
        if self.max_neighbours is None or self.max_neighbours < 1:
            raise ValueError(
                f"max_neighbours: expected the longest sequence of lstm, 1 or more, got {self.max_neighbours}"
            )
        assert not isinstance(messages, WeightedRows)
        sequences, where = messages_in_rows(messages, edges, self.max_neighbours)
        lstm = LSTM(messages.shape[-1], dtype=self.dtype, name="lstm")
        _, (state,) = lstm(sequences, where=where, train=False)
        return state.hidden.astype(messages.dtype)  # [V, F]

    def _dense(self, name: str, features: int, *, use_bias: bool = True) -> nn.Dense:
        return nn.Dense(
            features,
            use_bias=use_bias,
            kernel_init=self.kernel_init,
            bias_init=self.bias_init,
            dtype=self.dtype,
            name=name,
        )


def messages_in_rows(messages: jax.Array, edges: Edges, length: int) -> tuple[jax.Array, jax.Array]:
    """The messages to each node as a sequence, in the order of the edges.

    Args:
      messages: ``[E, F]``.
      edges: of the graph.
      length: D, of the sequences; what is longer is cut.

    Returns:
      Sequences ``[V, D, F]`` with zeros at their ends, and where there is a message, bool ``[V, D]``.
    """
    size, count = messages.shape[0], edges.nodes.shape[0]
    owners = jnp.where(edges.where, edges.receivers, count)  # those of the padding come last
    order = jnp.argsort(owners, stable=True).astype(jnp.int32)
    owners = owners[order]
    nth = jnp.arange(size) - jnp.searchsorted(owners, owners, side="left")  # place among its node's edges
    if size == 0:
        return jnp.zeros((count, length, messages.shape[1]), messages.dtype), jnp.zeros((count, length), bool)
    table = jnp.full((count, length), size, jnp.int32).at[owners, nth].set(order, mode="drop")  # [V, D]
    return messages.at[table].get(mode="fill", fill_value=0), table < size


def _unit_rows(rows: jax.Array) -> jax.Array:
    """Rows of norm 1; shorter ones than 1e-12 are divided by that, as in PyTorch's ``normalize``."""
    square = jnp.square(rows.astype(jnp.promote_types(rows.dtype, jnp.float32))).sum(-1, keepdims=True)
    is_long = square > 1e-24
    norm = jnp.where(is_long, jnp.sqrt(jnp.where(is_long, square, 1)), 1e-12)
    return (rows / jnp.broadcast_to(norm, rows.shape)).astype(rows.dtype)
