"""Graph attention: neighbours weighted by a score of both ends, in its two forms."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from jaxvision.core import Graph
from jaxvision.layers.initializers import Initializer, xavier_uniform
from jaxvision.layers.message_passing import (
    Edges,
    WeightedRows,
    edges_of,
    mask_rows,
    pass_messages,
    scale_rows,
    sum_messages,
)
from jaxvision.ops.activations import leaky_relu
from jaxvision.ops.dropout import dropout
from jaxvision.ops.neighbours import Neighbours
from jaxvision.ops.segments import segment_max, segment_sum


class _GraphAttention(nn.Module):
    """What :class:`GATConv` and :class:`GATv2Conv` share: all but their scores."""

    features: int
    num_heads: int = 1
    concatenate: bool = True
    negative_slope: float = 0.2
    attention_dropout: float = 0.0
    self_loops: bool = True
    use_edges: bool = False
    residual: bool = False
    use_bias: bool = True
    kernel_init: Initializer = xavier_uniform()
    bias_init: Initializer = nn.initializers.zeros_init()
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, graph: Graph, *, neighbours: Neighbours | None = None, train: bool) -> jax.Array:
        """Maps a graph of nodes ``[V, F]`` to ``[V, num_heads * features]``, or ``[V, features]`` of their
        mean.

        Args:
          graph: the graph; its ``edges`` ``[E, D]`` are read with ``use_edges`` only.
          neighbours: its edges as :func:`jaxvision.ops.plan_neighbours` prepares them, for speed on a CPU.
          train: whether to drop out attention weights (rng ``"dropout"``).

        Returns:
          New nodes, zeros in the padding.

        Raises:
          ValueError: if the graph's arrays do not fit together, or there are no edge features to use.
        """
        if not 0 <= self.attention_dropout <= 1:
            raise ValueError(
                f"attention_dropout: expected a probability from 0 to 1, got {self.attention_dropout}"
            )
        edges = edges_of(graph, neighbours)
        x = edges.nodes if self.dtype is None else edges.nodes.astype(self.dtype)
        features = self._edge_features(edges)
        loop_features = None if features is None else _mean_of_incoming(features, edges)
        values, scores, own = self._values_and_scores(x, edges, features, loop_features)
        drop = self._dropout(train)
        self._show_weights(scores, own, edges, graph.where_nodes)

        def attend(messages: WeightedRows, edges: Edges) -> jax.Array:
            assert messages.weights is not None
            return attention_sum(messages.rows, messages.weights, own, edges, drop=drop)

        def update(nodes: jax.Array, gathered: jax.Array) -> jax.Array:
            # [V, num_heads * features], or [V, features]
            y = gathered.reshape(-1, self.num_heads * self.features) if self.concatenate else gathered.mean(1)
            if self.residual:
                y = y + x @ self._kernel("residual_kernel", x, y.shape[-1])
            if not self.use_bias:
                return y
            bias = self.param("bias", self.bias_init, y.shape[-1:], jnp.float32)
            return y + bias.astype(y.dtype)[None]

        return pass_messages(
            graph._replace(nodes=values),
            message=lambda edges: WeightedRows(edges.nodes, scores),
            aggregate=attend,
            update=update,
            neighbours=neighbours,
        )

    def _show_weights(self, scores: jax.Array, own: jax.Array | None, edges: Edges, where: jax.Array) -> None:
        """Sows the attention weights, if anybody wants them: the sum over neighbours goes without."""
        if self.is_initializing() or not self.is_mutable_collection("intermediates"):
            return
        powers, own_powers, factors = _softmax_parts(scores, own, edges)
        self.sow("intermediates", "weights", powers * edges.at_receivers(factors))
        if own_powers is not None:
            self.sow("intermediates", "loop_weights", mask_rows(own_powers * factors, where))

    def _values_and_scores(
        self, x: jax.Array, edges: Edges, features: jax.Array | None, loop_features: jax.Array | None
    ) -> tuple[jax.Array, jax.Array, jax.Array | None]:
        """Values ``[V, H, C]``, scores of edges ``[E, H]``, and of loops ``[V, H]`` or None."""
        raise NotImplementedError

    def _kernel(self, name: str, x: jax.Array, width: int) -> jax.Array:
        kernel = self.param(name, self.kernel_init, (x.shape[-1], width), jnp.float32)
        return kernel.astype(x.dtype if self.dtype is None else self.dtype)

    def _attention(self, name: str) -> jax.Array:
        return self.param(name, self.kernel_init, (self.num_heads, self.features), jnp.float32)

    def _heads(self, values: jax.Array) -> jax.Array:
        return values.reshape(values.shape[0], self.num_heads, self.features)  # [V, H, C]

    def _edge_features(self, edges: Edges) -> jax.Array | None:
        if not self.use_edges:
            return None
        features = edges.features
        if features is None:
            raise ValueError("edges: use_edges asks for edge features [E, D], got none")
        return features[:, None] if features.ndim == 1 else features

    def _dropout(self, train: bool) -> Callable[[jax.Array], jax.Array] | None:
        rate = self.attention_dropout
        if not train or rate == 0:
            return None
        return lambda weights: dropout(self.make_rng("dropout"), weights, rate=rate)


class GATConv(_GraphAttention):
    """Graph attention, as PyTorch Geometric's ``GATConv``.

    .. math:: x_v' = \\sum_{u \\to v} \\alpha_{vu} W x_u, \\quad \\alpha_{vu} = softmax_u \\,
       LeakyReLU(a_s \\cdot W x_u + a_r \\cdot W x_v)

    for each head. Edges from a node to itself are taken out and every node gets one. What is kept for the
    gradient are numbers an edge and head, and rows a node: no row of features an edge.

    The weights before dropout, of the edges ``[E, H]`` and of each node with itself ``[V, H]``, are sown as
    ``weights`` and ``loop_weights`` in the collection ``"intermediates"`` where it is mutable: what PyTorch
    Geometric returns with ``return_attention_weights=True``.

    Parameters, float32: ``kernel`` ``[F, num_heads * features]``, ``sender_attention`` and
    ``receiver_attention`` ``[num_heads, features]``, ``bias``; with ``use_edges`` ``edge_kernel``
    ``[D, num_heads * features]`` and ``edge_attention``; with ``residual`` ``residual_kernel``.

    Attributes:
      features: width of a head, C.
      num_heads: number of heads, H.
      concatenate: whether heads lie side by side, or are averaged (an output layer).
      negative_slope: of the LeakyReLU.
      attention_dropout: probability that an edge's weight is zeroed in a head in training.
      self_loops: whether every node attends to itself.
      use_edges: whether scores also have a term of the edges' features; a loop's are the mean of those that
        come in.
      residual: whether to add a linear function of the node itself.
      use_bias: whether to add a bias.
      kernel_init: initialiser of the kernels and attention vectors.
      bias_init: initialiser of the bias.
      dtype: dtype of products and outputs; scores and sums are float32.

    References:
      Velickovic et al. 2018, *Graph Attention Networks*, equations 1 to 6.
    """

    def _values_and_scores(
        self, x: jax.Array, edges: Edges, features: jax.Array | None, loop_features: jax.Array | None
    ) -> tuple[jax.Array, jax.Array, jax.Array | None]:
        values = self._heads(x @ self._kernel("kernel", x, self.num_heads * self.features))
        by_sender = _head_products(values, self._attention("sender_attention"))  # [V, H]
        by_receiver = _head_products(values, self._attention("receiver_attention"))
        scores = edges.at_senders(by_sender) + edges.at_receivers(by_receiver)  # [E, H]
        own = by_sender + by_receiver
        if features is not None and loop_features is not None:
            kernel = self._kernel("edge_kernel", features, self.num_heads * self.features)
            # The product with both at once: no row of features an edge.
            column = _head_products(self._heads(kernel), self._attention("edge_attention"))  # [D, H]
            scores, own = scores + features @ column, own + loop_features @ column
        scores = leaky_relu(scores, negative_slope=self.negative_slope)
        own = leaky_relu(own, negative_slope=self.negative_slope)
        return values, scores, own if self.self_loops else None


class GATv2Conv(_GraphAttention):
    """Graph attention whose scores are no fixed ranking of the senders: PyTorch Geometric's ``GATv2Conv``.

    .. math:: \\alpha_{vu} = softmax_u \\, a \\cdot LeakyReLU(W_s x_u + W_r x_v)

    and all else as :class:`GATConv`. The rows inside of the scores are made again for the gradient.

    Parameters, float32: ``sender_kernel`` and ``receiver_kernel`` ``[F, num_heads * features]`` with
    ``sender_bias`` and ``receiver_bias``, ``attention`` ``[num_heads, features]``, ``bias``; with
    ``use_edges`` ``edge_kernel``, with ``residual`` ``residual_kernel``. With ``share_weights`` the
    receivers' are the senders'.

    Attributes:
      features: as :class:`GATConv`, like all that is not below.
      num_heads: as :class:`GATConv`.
      concatenate: as :class:`GATConv`.
      negative_slope: as :class:`GATConv`.
      attention_dropout: as :class:`GATConv`.
      self_loops: as :class:`GATConv`.
      use_edges: as :class:`GATConv`.
      residual: as :class:`GATConv`.
      use_bias: whether there are biases, of both kernels too.
      kernel_init: as :class:`GATConv`.
      bias_init: as :class:`GATConv`.
      dtype: as :class:`GATConv`.
      share_weights: whether senders and receivers have one kernel.

    References:
      Brody et al. 2022, *How Attentive are Graph Attention Networks?*, equation 7.
    """

    share_weights: bool = False

    def _values_and_scores(
        self, x: jax.Array, edges: Edges, features: jax.Array | None, loop_features: jax.Array | None
    ) -> tuple[jax.Array, jax.Array, jax.Array | None]:
        senders = self._project("sender", x)
        receivers = senders if self.share_weights else self._project("receiver", x)
        attention = self._attention("attention")
        of_edges = of_loops = None
        if features is not None and loop_features is not None:
            kernel = self._kernel("edge_kernel", features, self.num_heads * self.features)
            of_edges, of_loops = (self._heads(each @ kernel) for each in (features, loop_features))

        @jax.checkpoint
        def score(senders: jax.Array, receivers: jax.Array, more: jax.Array | None) -> jax.Array:
            total = senders + receivers if more is None else senders + receivers + more
            return _head_products(leaky_relu(total, negative_slope=self.negative_slope), attention)

        @jax.checkpoint
        def score_edges(senders: jax.Array, receivers: jax.Array, more: jax.Array | None) -> jax.Array:
            return score(edges.at_senders(senders), edges.at_receivers(receivers), more)

        own = score(senders, receivers, of_loops) if self.self_loops else None
        return senders, score_edges(senders, receivers, of_edges), own

    def _project(self, name: str, x: jax.Array) -> jax.Array:
        y = x @ self._kernel(f"{name}_kernel", x, self.num_heads * self.features)
        if self.use_bias:
            y = (
                y
                + self.param(f"{name}_bias", self.bias_init, y.shape[-1:], jnp.float32).astype(y.dtype)[None]
            )
        return self._heads(y)


def attention_sum(
    rows: jax.Array,
    scores: jax.Array,
    own: jax.Array | None,
    edges: Edges,
    *,
    drop: Callable[[jax.Array], jax.Array] | None = None,
) -> jax.Array:
    """Sum of the senders' rows, weighted by a softmax of the scores among the edges to a node.

    The division by the softmax's sum comes after the sum over neighbours, once a node.

    Args:
      rows: ``[V, H, C]``.
      scores: of the edges ``[E, H]``.
      own: scores of each node with itself ``[V, H]``, which then replace those of edges from a node to
        itself; None for the edges as they are.
      edges: of the graph.
      drop: dropout of the weights ``[E, H]`` and ``[V, H]``; None for none.

    Returns:
      ``[V, H, C]`` in the dtype of ``rows``; zeros for a node without edges or loop.
    """
    drop = (lambda weights: weights) if drop is None else drop
    powers, own_powers, factors = _softmax_parts(scores, own, edges)
    gathered = sum_messages(WeightedRows(rows, drop(powers)), edges)
    if own_powers is not None:
        gathered = gathered + scale_rows(rows, drop(own_powers))
    return scale_rows(gathered, factors)


def _softmax_parts(
    scores: jax.Array, own: jax.Array | None, edges: Edges
) -> tuple[jax.Array, jax.Array | None, jax.Array]:
    """Exponentials of the scores ``[E, H]`` and of each node's own ``[V, H]``, and what to multiply with.

    The softmax is the exponentials times the factors ``[V, H]`` of their receivers; a node without edges or
    loop has a factor of 1.
    """
    scores = scores.astype(jnp.promote_types(scores.dtype, jnp.float32))
    if own is not None:
        is_loop = (edges.senders == edges.receivers)[:, None]
        scores = jnp.where(jnp.broadcast_to(is_loop, scores.shape), -jnp.inf, scores)
    largest = segment_max(lax.stop_gradient(scores), **edges.by_receiver(), empty=-jnp.inf)
    if own is not None:
        own = own.astype(scores.dtype)
        largest = jnp.maximum(largest, lax.stop_gradient(own))
    largest = jnp.where(largest == -jnp.inf, 0, largest)  # [V, H]
    there = jnp.broadcast_to(edges.where[:, None], scores.shape)
    powers = jnp.exp(jnp.where(there, scores - edges.at_receivers(largest), -jnp.inf))  # [E, H]
    total = segment_sum(powers, **edges.by_receiver())
    own_powers = None
    if own is not None:
        own_powers = jnp.exp(own - largest)
        total = total + own_powers
    return powers, own_powers, 1 / jnp.where(total > 0, total, 1)


def _head_products(values: jax.Array, vectors: jax.Array) -> jax.Array:
    """Product of each head ``[N, H, C]`` with its vector ``[H, C]``, float32: ``[N, H]``."""
    wide = jnp.promote_types(values.dtype, jnp.float32)
    return jnp.einsum("nhc,hc->nh", values.astype(wide), vectors.astype(wide))


def _mean_of_incoming(features: jax.Array, edges: Edges) -> jax.Array:
    """Mean features of the edges to each node, loops left out, ``[V, D]``."""
    is_other = (edges.where & (edges.senders != edges.receivers)).astype(features.dtype)
    total = segment_sum(scale_rows(features, is_other), **edges.by_receiver())
    count = segment_sum(is_other.astype(jnp.float32), **edges.by_receiver())
    return scale_rows(total, 1 / jnp.maximum(count, 1))
