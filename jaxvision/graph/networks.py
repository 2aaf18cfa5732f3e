"""Networks of graph layers, and the heads that make predictions of their nodes.

Every network is called ``network(graph, neighbours=neighbours, train=train)`` and returns one row a node:
with ``num_classes`` logits, whose layer is the last graph layer as in the papers, else the last hidden
layer's features for :class:`GraphClassifier` or :class:`EdgeScorer`. ``neighbours`` (see
:func:`jaxvision.ops.plan_neighbours`) is optional and makes a CPU fast.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.core import Graph
from jaxvision.layers import (
    BatchNorm,
    ChebConv,
    Dropout,
    GATConv,
    GATv2Conv,
    GCNConv,
    GINConv,
    NodeMLP,
    SAGEConv,
)
from jaxvision.layers.graph_pooling import Readout, read_out
from jaxvision.layers.message_passing import mask_rows
from jaxvision.ops import Neighbours, dropout_nonzero


def node_logits(
    rows: jax.Array,
    graph: Graph,
    num_classes: int,
    *,
    dropout_rate: float,
    dtype: DTypeLike | None = None,
    train: bool,
) -> jax.Array:
    """Dropout and a dense layer ``head`` on rows of nodes: logits ``[V, K]``, float32, zeros in the padding.

    Called in the compact method of a network, whose submodules they become.
    """
    logits = nn.Dense(num_classes, dtype=dtype, name="head")(Dropout(dropout_rate)(rows, train=train))
    return mask_rows(logits.astype(jnp.float32), graph.where_nodes)


class _Stack(nn.Module):
    """Graph layers one behind the other, dropout in front of each, an activation behind all but the last."""

    hidden: Sequence[int]
    num_classes: int | None = None
    dropout_rate: float = 0.5
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self,
        graph: Graph,
        *,
        neighbours: Neighbours | None = None,
        nonzero: jax.Array | None = None,
        train: bool,
    ) -> jax.Array:
        """Maps a graph of nodes ``[V, F]`` to logits ``[V, K]``, float32, or to features.

        Args:
          graph: the graph, or a padded batch of graphs.
          neighbours: its edges prepared by :func:`jaxvision.ops.plan_neighbours`, or None.
          nonzero: where the nodes' features are not 0, for :func:`jaxvision.ops.dropout_nonzero`; or None.
          train: whether dropout drops (rng ``"dropout"``).

        Returns:
          One row a node, zeros in the padding.

        Raises:
          ValueError: if the graph's arrays do not fit together, or there is no layer.
        """
        widths = [*self.hidden] + ([] if self.num_classes is None else [self.num_classes])
        if not widths:
            raise ValueError("hidden, num_classes: expected at least one layer, got none")
        x = mask_rows(graph.nodes, graph.where_nodes)
        for index, width in enumerate(widths):
            is_output = index == len(self.hidden)
            if index == 0 and nonzero is not None and train and self.dropout_rate > 0:
                x = dropout_nonzero(self.make_rng("dropout"), x, nonzero, rate=self.dropout_rate)
            else:
                x = Dropout(self.dropout_rate)(x, train=train)
            x = self._layer(index, width, is_output)(
                graph._replace(nodes=x), neighbours=neighbours, **self._options(train)
            )
            x = x if is_output else self.activation(x)
        return x if self.num_classes is None else x.astype(jnp.float32)

    def _layer(self, index: int, width: int, is_output: bool) -> Any:
        raise NotImplementedError

    def _options(self, train: bool) -> dict[str, bool]:
        return {}


class GCN(_Stack):
    """Graph convolutional network. Submodules: ``conv0``, ``conv1``, ..., :class:`jaxvision.layers.GCNConv`.

    Attributes:
      hidden: widths of the hidden layers.
      num_classes: number of classes K; None for features.
      dropout_rate: probability that a feature in front of a layer is zeroed in training.
      activation: behind the hidden layers.
      dtype: dtype of the computation; logits are float32.
      normalize: as :class:`jaxvision.layers.GCNConv`; False for edges that carry normalised weights, those of
        loops among them.

    References:
      Kipf and Welling 2017, *Semi-Supervised Classification with Graph Convolutional Networks*.
    """

    normalize: bool = True

    def _layer(self, index: int, width: int, is_output: bool) -> Any:
        return GCNConv(width, self.normalize, dtype=self.dtype, name=f"conv{index}")


class ChebNet(_Stack):
    """Network of Chebyshev filters. Submodules: ``conv{i}``, :class:`jaxvision.layers.ChebConv`.

    Attributes:
      hidden: as :class:`GCN`, like all that is not below.
      num_classes: as :class:`GCN`.
      dropout_rate: as :class:`GCN`.
      activation: as :class:`GCN`.
      dtype: as :class:`GCN`.
      order: number of polynomials of a filter.
      normalization: as :class:`jaxvision.layers.ChebConv`, of those that need no eigenvalue.

    References:
      Defferrard et al. 2016, *Convolutional Neural Networks on Graphs with Fast Localized Spectral
      Filtering*.
    """

    order: int = 3
    normalization: Literal["symmetric", "random_walk", "given"] = "symmetric"

    def _layer(self, index: int, width: int, is_output: bool) -> Any:
        return ChebConv(width, self.order, self.normalization, dtype=self.dtype, name=f"conv{index}")


class GraphSAGE(_Stack):
    """GraphSAGE. Submodules: ``conv{i}``, :class:`jaxvision.layers.SAGEConv`.

    Attributes:
      hidden: as :class:`GCN`, like all that is not below.
      num_classes: as :class:`GCN`.
      dropout_rate: as :class:`GCN`.
      activation: as :class:`GCN`.
      dtype: as :class:`GCN`.
      aggregator: as :class:`jaxvision.layers.SAGEConv`.
      project_features: as :class:`jaxvision.layers.SAGEConv`.
      max_neighbours: as :class:`jaxvision.layers.SAGEConv`.
      normalize: whether the hidden layers' rows have norm 1, as in the paper's algorithm 1.

    References:
      Hamilton et al. 2017, *Inductive Representation Learning on Large Graphs*.
    """

    aggregator: Literal["mean", "sum", "max", "lstm"] = "mean"
    project_features: int | None = None
    max_neighbours: int | None = None
    normalize: bool = False

    def _layer(self, index: int, width: int, is_output: bool) -> Any:
        return SAGEConv(
            width,
            self.aggregator,
            project_features=self.project_features,
            normalize=self.normalize and not is_output,
            max_neighbours=self.max_neighbours,
            dtype=self.dtype,
            name=f"conv{index}",
        )


class GAT(_Stack):
    """Graph attention network. Submodules: ``conv{i}``, :class:`jaxvision.layers.GATConv` or ``GATv2Conv``.

    Attributes:
      hidden: widths of a head of the hidden layers, whose heads lie side by side.
      num_classes: as :class:`GCN`; the heads of the output layer are averaged.
      dropout_rate: as :class:`GCN`.
      activation: as :class:`GCN`.
      dtype: as :class:`GCN`.
      num_heads: heads of the hidden layers.
      output_heads: heads of the output layer.
      attention_dropout: probability that an attention weight is zeroed in training.
      version: 1, or 2 for Brody et al.'s scores.
      use_edges: whether scores also have a term of the edges' features, or weights.

    References:
      Velickovic et al. 2018, *Graph Attention Networks*, section 3.3.
    """

    activation: Callable[[jax.Array], jax.Array] = nn.elu
    num_heads: int = 8
    output_heads: int = 1
    attention_dropout: float = 0.6
    version: Literal[1, 2] = 1
    use_edges: bool = False

    def _layer(self, index: int, width: int, is_output: bool) -> Any:
        kind = {1: GATConv, 2: GATv2Conv}.get(self.version)
        if kind is None:
            raise ValueError(f"version: expected 1 or 2, got {self.version}")
        return kind(
            width,
            self.output_heads if is_output else self.num_heads,
            concatenate=not is_output,
            attention_dropout=self.attention_dropout,
            use_edges=self.use_edges,
            dtype=self.dtype,
            name=f"conv{index}",
        )

    def _options(self, train: bool) -> dict[str, bool]:
        return {"train": train}


class GIN(nn.Module):
    """Graph isomorphism network: the rows of all its layers side by side, or logits.

    Each layer is a :class:`jaxvision.layers.GINConv` with a perceptron of two layers, batch norm and ReLU.
    Submodules: ``mlp{i}``, the perceptron of layer i; ``conv{i}``, which holds its epsilon where that is
    learned; ``norm{i}``, and ``head`` for logits.

    Attributes:
      hidden: widths of the layers.
      num_classes: number of classes K of nodes; None for the rows of all layers ``[V, sum of hidden]``, which
        are what the paper reads out.
      learn_epsilon: whether the weight of the node itself is learned.
      dropout_rate: in front of the head.
      dtype: dtype of the computation; logits are float32.

    References:
      Xu et al. 2019, *How Powerful are Graph Neural Networks?*, section 4.2 and section 7.
    """

    hidden: Sequence[int]
    num_classes: int | None = None
    learn_epsilon: bool = False
    dropout_rate: float = 0.5
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, graph: Graph, *, neighbours: Neighbours | None = None, train: bool) -> jax.Array:
        """Maps a graph of nodes ``[V, F]`` to ``[V, sum of hidden]``, or logits ``[V, K]``.

        Args:
          graph: the graph, or a padded batch of graphs.
          neighbours: its edges prepared by :func:`jaxvision.ops.plan_neighbours`, or None.
          train: whether norms take the statistics of these nodes and dropout drops (rng ``"dropout"``).

        Returns:
          One row a node, zeros in the padding.

        Raises:
          ValueError: if the graph's arrays do not fit together, or there is no layer.
        """
        if not self.hidden:
            raise ValueError("hidden: expected the width of at least one layer, got none")
        x, rows = graph.nodes, []
        for index, width in enumerate(self.hidden):
            mlp = NodeMLP((width, width), norm=True, dtype=self.dtype, name=f"mlp{index}")
            conv = GINConv(mlp, learn_epsilon=self.learn_epsilon, name=f"conv{index}")
            x = conv(graph._replace(nodes=x), neighbours=neighbours, train=train)
            norm = BatchNorm(dtype=self.dtype, name=f"norm{index}")
            x = mask_rows(nn.relu(norm(x, where=graph.where_nodes, train=train)), graph.where_nodes)
            rows.append(x)
        result = jnp.concatenate(rows, -1)  # [V, sum of hidden]
        if self.num_classes is None:
            return result
        return node_logits(
            result, graph, self.num_classes, dropout_rate=self.dropout_rate, dtype=self.dtype, train=train
        )


class GraphClassifier(nn.Module):
    """A network's nodes read out, and a dense layer on that. Submodules: ``backbone`` and ``head``.

    Attributes:
      backbone: a network without ``num_classes``.
      num_classes: number of classes K.
      readout: "sum", "mean" or "max". The sum of :class:`GIN`'s rows is the paper's sum of one dense layer a
        depth.
      dropout_rate: in front of the dense layer.
      dtype: dtype of the dense layer; logits are float32.
    """

    backbone: nn.Module
    num_classes: int
    readout: Readout = "sum"
    dropout_rate: float = 0.5
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, graph: Graph, *, neighbours: Neighbours | None = None, train: bool) -> jax.Array:
        """Maps a batch of graphs to logits ``[G, K]``, float32; those of padded graphs mean nothing.

        Raises:
          ValueError: as the backbone.
        """
        nodes = self.backbone(graph, neighbours=neighbours, train=train)
        x = Dropout(self.dropout_rate)(read_out(graph, nodes, readout=self.readout), train=train)
        return nn.Dense(self.num_classes, dtype=self.dtype, name="head")(x).astype(jnp.float32)


class EdgeScorer(nn.Module):
    """Scores pairs of nodes from a network's rows: link prediction. Submodules: ``backbone`` and ``mlp``.

    Attributes:
      backbone: a network without ``num_classes``.
      hidden: width of a perceptron on the product of both rows; None for the sum of the product, the plain
        decoder of the graph auto-encoder.
      num_classes: scores a pair, with ``hidden``.
      dtype: dtype of the perceptron; scores are float32.

    References:
      Kipf and Welling 2016, *Variational Graph Auto-Encoders*, equation 2.
    """

    backbone: nn.Module
    hidden: int | None = None
    num_classes: int = 1
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, graph: Graph, pairs: jax.Array, *, neighbours: Neighbours | None = None, train: bool
    ) -> jax.Array:
        """Maps a graph and pairs of its nodes ``[P, 2]`` to scores.

        Returns:
          Logits ``[P]``, float32; with ``hidden`` and several classes ``[P, num_classes]``.

        Raises:
          ValueError: as the backbone, or if pairs are not ``[P, 2]``.
        """
        if pairs.ndim != 2 or pairs.shape[1] != 2:
            raise ValueError(f"pairs: expected [P, 2], got {list(pairs.shape)}")
        nodes = self.backbone(graph, neighbours=neighbours, train=train)
        product = nodes[pairs[:, 0]] * nodes[pairs[:, 1]]  # [P, F]
        if self.hidden is None:
            return product.astype(jnp.float32).sum(-1)
        mlp = NodeMLP((self.hidden, self.num_classes), dtype=self.dtype, name="mlp")
        scores = mlp(product, train=train).astype(jnp.float32)
        return scores[:, 0] if self.num_classes == 1 else scores
