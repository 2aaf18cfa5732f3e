"""Networks of graph convolutions by name: for classes of nodes, classes of graphs, and links."""

import dataclasses
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxvision.core import Graph
from jaxvision.layers import Dropout
from jaxvision.layers.graph_attention import GATConv, GATv2Conv
from jaxvision.layers.graph_chebyshev import ChebConv
from jaxvision.layers.graph_diffusion import DiffusionConv
from jaxvision.layers.graph_gcn import GCNConv
from jaxvision.layers.graph_gin import GINConv, NodeMLP
from jaxvision.layers.graph_mixture import GMMConv, degree_coordinates
from jaxvision.layers.graph_sage import SAGEConv
from jaxvision.ops.dropout import dropout_nonzero
from jaxvision.ops.neighbours import Neighbours
from jaxvision.ops.segments import segment_max, segment_mean, segment_sum

CONVOLUTIONS = ("gcn", "chebnet", "sage", "gat", "gatv2", "gin", "dcnn", "monet")
"""Names of networks."""

Readout = Literal["sum", "mean", "max"]
_READOUTS = {"sum": segment_sum, "mean": segment_mean, "max": segment_max}


@dataclasses.dataclass(frozen=True)
class GraphModelOptions:
    """The network."""

    name: str = "gcn"
    """gcn, chebnet, sage, gat, gatv2, gin, dcnn or monet."""
    hidden: int = 16
    """Units of a layer; of gat and gatv2, of each head."""
    layers: int = 2
    """Convolutions; dcnn has one."""
    heads: int = 8
    """Attention heads of gat and gatv2; their last layer for nodes has one."""
    hops: int = 2
    """Furthest neighbours of a layer of chebnet (its polynomials are one more) and of dcnn."""
    kernels: int = 3
    """Gaussians of monet."""
    dropout: float = 0.5
    """Of each layer's input, and of attention."""
    readout: Readout = "sum"
    """How the nodes of a graph become one row, for --task graph."""
    out: int = 16
    """Size of a node's embedding, for --task link."""
    decoder: Literal["dot", "mlp"] = "dot"
    """How a pair of embeddings is scored, for --task link."""

    def __post_init__(self) -> None:
        if self.name not in CONVOLUTIONS:
            raise ValueError(f"--model.name {self.name}: expected one of {', '.join(CONVOLUTIONS)}")
        for name in ("hidden", "layers", "heads", "kernels", "out"):
            if getattr(self, name) < 1:
                raise ValueError(f"--model.{name}: got {getattr(self, name)}, expected 1 or more")


class ConvolutionNetwork(nn.Module):
    """Graph convolutions one after the other, ReLU (of attention, ELU) between them.

    For nodes, the last convolution gives the logits. For graphs, the nodes of every layer are read out, the
    features themselves included, each readout goes through a dense layer, and these are added up.

    Submodules: ``conv{i}``; ``head`` of dcnn; for graphs ``readout{i}``.

    Attributes:
      options: of the network.
      features: numbers a node, or a graph, has at the end.
      whole_graphs: for graphs instead of nodes.

    References:
      Kipf and Welling 2017; Velickovic et al. 2018, section 3.3; Xu et al. 2019, section 4.2 and 7: readouts
      of all layers. Weights of edges are used by gcn, chebnet and dcnn; features of edges by none.
    """

    options: GraphModelOptions
    features: int
    whole_graphs: bool = False

    @nn.compact
    def __call__(
        self,
        graph: Graph,
        *,
        neighbours: Neighbours | None = None,
        nonzero: jax.Array | None = None,
        train: bool,
    ) -> jax.Array:
        """Gives ``[V, features]``, or of graphs ``[G, features]``, float32.

        Args:
          graph: the graph, or graphs side by side.
          neighbours: its edges as :func:`jaxvision.ops.plan_neighbours` prepares them, for speed on a CPU.
          nonzero: positions of the features that are not 0, for :func:`jaxvision.ops.dropout_nonzero`; or None.
          train: whether to drop out (rng ``"dropout"``) and norms take the statistics of these nodes.
        """
        options = self.options
        if graph.edges is not None and graph.edges.ndim > 1:
            graph = graph._replace(edges=None)
        if options.name == "monet":
            graph = graph._replace(edges=degree_coordinates(graph))
        drop = Dropout(options.dropout)
        is_attention = options.name in ("gat", "gatv2")
        x, layers = graph.nodes, [graph.nodes]
        count = 1 if options.name == "dcnn" else options.layers
        for index in range(count):
            is_last = index == count - 1 and not self.whole_graphs
            if index == 0 and nonzero is not None and train and options.dropout > 0:
                x = dropout_nonzero(self.make_rng("dropout"), x, nonzero, rate=options.dropout)
            elif not self.whole_graphs:
                x = drop(x, train=train)
            x = self._convolve(f"conv{index}", graph._replace(nodes=x), neighbours, is_last, train=train)
            if not is_last:
                x = nn.elu(x) if is_attention else nn.relu(x)
            layers.append(x)
        if self.whole_graphs:
            return self._read_out(graph, layers, train=train)
        if options.name == "dcnn":
            x = nn.Dense(self.features, name="head")(drop(x, train=train))
        return x.astype(jnp.float32)

    def _convolve(
        self, name: str, graph: Graph, neighbours: Neighbours | None, is_last: bool, *, train: bool
    ) -> jax.Array:
        options, width = self.options, self.features if is_last else self.options.hidden
        if options.name in ("gat", "gatv2"):
            layer = (GATConv if options.name == "gat" else GATv2Conv)(
                width,
                num_heads=1 if is_last else options.heads,
                attention_dropout=options.dropout,
                name=name,
            )
            return layer(graph, neighbours=neighbours, train=train)
        if options.name == "gin":
            mlp = NodeMLP((options.hidden, width), norm=self.whole_graphs)
            return GINConv(mlp, name=name)(graph, neighbours=neighbours, train=train)
        simple = {
            "gcn": lambda: GCNConv(width, name=name),
            "chebnet": lambda: ChebConv(width, options.hops + 1, name=name),
            "sage": lambda: SAGEConv(width, name=name),
            "dcnn": lambda: DiffusionConv(options.hops + 1, name=name),
            "monet": lambda: GMMConv(width, options.kernels, name=name),
        }
        found: jax.Array = simple[options.name]()(graph, neighbours=neighbours)
        return found

    def _read_out(self, graph: Graph, layers: list[jax.Array], *, train: bool) -> jax.Array:
        reduce, count = _READOUTS[self.options.readout], graph.where_graphs.shape[0]
        total = jnp.zeros((count, self.features), jnp.float32)
        for index, rows in enumerate(layers):
            row = reduce(rows, graph.graph_ids, count, where=graph.where_nodes)  # [G, hidden]
            scores = nn.Dense(self.features, name=f"readout{index}")(row)
            total = total + Dropout(self.options.dropout)(scores, train=train)
        return total


class LinkNetwork(nn.Module):
    """Embeds nodes by graph convolutions, and scores pairs of them.

    Submodules: ``encoder``; with ``mlp`` ``hidden`` and ``head``.

    Attributes:
      options: of the encoder; ``dot`` scores a pair by the product of its embeddings, ``mlp`` by a perceptron on
        their element-wise product. Both are the same whichever node comes first.

    References:
      Kipf and Welling 2016, "Variational Graph Auto-Encoders", section 3: the plain auto-encoder, ``dot``.
    """

    options: GraphModelOptions

    @nn.compact
    def __call__(
        self,
        graph: Graph,
        pairs: jax.Array,
        *,
        neighbours: Neighbours | None = None,
        nonzero: jax.Array | None = None,
        train: bool,
    ) -> jax.Array:
        """Scores pairs of nodes ``[M, 2]``: logits ``[M]``, float32; all else as the encoder takes it."""
        encoder = ConvolutionNetwork(self.options, self.options.out, name="encoder")
        embedded = encoder(graph, neighbours=neighbours, nonzero=nonzero, train=train)  # [V, out]
        product = embedded[pairs[:, 0]] * embedded[pairs[:, 1]]  # [M, out]
        if self.options.decoder == "dot":
            return product.sum(axis=-1)
        hidden = nn.relu(nn.Dense(self.options.out, name="hidden")(product))
        return nn.Dense(1, name="head")(hidden)[:, 0]
