"""The network of a run on graphs, as a script's options."""

import dataclasses
from typing import Any, Literal

import flax.linen as nn

from jaxvision.data.whole_graph_edges import WholeGraphEdges
from jaxvision.graph import (
    DCNN,
    DGCNN,
    GAT,
    GCN,
    GIN,
    ChebNet,
    EdgeScorer,
    GraphClassifier,
    GraphSAGE,
    MoNet,
    NN4GNet,
)

NETWORKS = ("gcn", "chebnet", "sage", "gat", "gatv2", "gin", "dcnn", "monet", "nn4g", "dgcnn")
"""Names of networks."""

_READ_WEIGHTS = ("gcn", "chebnet", "dcnn")
_READ_FEATURES = ("gat", "gatv2", "monet")
_SUM_ALL = ("gin", "nn4g")
_CUT: dict[str, WholeGraphEdges] = {"gcn": "gcn", "chebnet": "chebyshev", "monet": "degrees"}
"""What networks make of degrees, which a drawn neighbourhood cuts."""


@dataclasses.dataclass(frozen=True)
class GraphModelOptions:
    """The network."""

    name: str = "gcn"
    """gcn, chebnet, sage, gat, gatv2, gin, dcnn, monet, nn4g or dgcnn."""
    hidden: int = 16
    """Units of a hidden layer; of gat and gatv2, of each head."""
    layers: int = 2
    """Graph layers; dcnn has one."""
    heads: int = 8
    """Attention heads of a hidden layer of gat and gatv2."""
    output_heads: int = 1
    """Their heads of the last layer; 8 in the paper for Pubmed."""
    hops: int = 2
    """Furthest neighbours of a layer of chebnet, and of dcnn."""
    kernels: int = 3
    """Gaussians of a layer of monet."""
    nearest: int | None = None
    """dgcnn: messages come from that many nodes whose features are nearest, found anew in each layer, for
    points in space; by default along the edges of the graph."""
    dropout: float = 0.5
    """Of the input of each layer, and of attention; of gin, of what is read out."""
    readout: Literal["sum", "mean", "max"] = "sum"
    """How the nodes of a graph become one row, for --task graph."""
    out: int = 16
    """Size of a node's embedding, for --task link."""
    decoder: Literal["dot", "mlp"] = "dot"
    """How a pair of embeddings is scored, for --task link."""

    def __post_init__(self) -> None:
        for name in ("hidden", "layers", "heads", "output_heads", "kernels", "out"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"--model.{name.replace('_', '-')}: got {getattr(self, name)}, expected 1 or more"
                )
        if self.nearest is not None and (self.nearest < 1 or self.name != "dgcnn"):
            raise ValueError(
                f"--model.nearest {self.nearest}: expected 1 or more, for --model.name dgcnn, not {self.name}"
            )
        if not 0 <= self.dropout <= 1 or self.hops < 0:
            raise ValueError(
                f"--model.dropout {self.dropout}, --model.hops {self.hops}: expected 0 to 1, and 0 or more"
            )

    @property
    def drops_features(self) -> bool:
        """Whether the network drops out the features themselves, and so may draw for their nonzeros alone."""
        return self.name in ("gcn", "chebnet", "sage", "gat", "gatv2") and self.dropout > 0

    @property
    def reach(self) -> int:
        """Edges that a network of nodes looks far."""
        if self.name == "dcnn":
            return self.hops
        return self.layers * (self.hops if self.name == "chebnet" else 1)

    def reads_edges(self, shape: tuple[int, ...] | None) -> bool:
        """Whether the network reads what edges carry: features of one edge ``shape``, or None for nothing."""
        if shape is None:
            return False
        is_weight = shape in ((), (1,))
        return self.name in _READ_FEATURES or (is_weight and self.name in _READ_WEIGHTS)

    def sampled_edges(self, fan_out: tuple[int, ...], *, use_edges: bool) -> WholeGraphEdges | None:
        """What edges of drawn neighbourhoods are to carry for the network; None for what they do.

        Args:
          fan_out: neighbours a hop.
          use_edges: whether the edges' own features are read.

        Raises:
          ValueError: if the network cannot be trained on neighbourhoods, or they reach less or more far than
            the network looks.
        """
        if self.name in _SUM_ALL or self.nearest is not None:
            reason = (
                "adds up all neighbours of a node" if self.nearest is None else "looks for the nearest nodes"
            )
            raise ValueError(
                f"--data.fan-out: --model.name {self.name} {reason}, of which drawn ones are a part; take "
                "sage, gat, gcn or another network, or leave it out"
            )
        if len(fan_out) != self.reach:
            raise ValueError(
                f"--data.fan-out {' '.join(map(str, fan_out))}: {len(fan_out)} hops, but {self.name} with "
                f"--model.layers {self.layers} and --model.hops {self.hops} looks {self.reach} edges far; "
                f"give {self.reach} numbers"
            )
        return None if use_edges and self.name == "monet" else _CUT.get(self.name)


def node_classifier(
    options: GraphModelOptions, num_classes: int, *, use_edges: bool = False, sampled: bool = False
) -> nn.Module:
    """The network that gives each node the logits of its class.

    Args:
      options: the network.
      num_classes: K.
      use_edges: whether gat, gatv2 and monet read the edges' features.
      sampled: whether it is to be applied to neighbourhoods whose edges carry
        :meth:`GraphModelOptions.sampled_edges`. The parameters are the same.

    Raises:
      ValueError: if there is no such network.
    """
    return _network(options, num_classes, use_edges=use_edges, sampled=sampled)


def graph_classifier(options: GraphModelOptions, num_classes: int, *, use_edges: bool = False) -> nn.Module:
    """The network that gives each graph the logits of its class; arguments as :func:`node_classifier`.

    Raises:
      ValueError: if there is no such network.
    """
    backbone = _network(options, None, use_edges=use_edges)
    return GraphClassifier(backbone, num_classes, options.readout, options.dropout)


def link_scorer(options: GraphModelOptions, *, use_edges: bool = False) -> nn.Module:
    """The network that gives pairs of nodes the logit of an edge; arguments as :func:`node_classifier`.

    Raises:
      ValueError: if there is no such network.
    """
    # The last layer is linear, like that of the graph auto-encoder: an embedding may be negative.
    encoder = _network(options, options.out, use_edges=use_edges)
    return EdgeScorer(encoder, options.out if options.decoder == "mlp" else None)


def _network(
    options: GraphModelOptions, num_classes: int | None, *, use_edges: bool, sampled: bool = False
) -> nn.Module:
    """A network of ``options.layers`` graph layers, the last of which gives the classes where there are any;
    gin, nn4g and dgcnn give them by a dense layer behind all of theirs."""
    every = (options.hidden,) * options.layers
    hidden = every if num_classes is None else every[1:]
    shared: dict[str, Any] = {"num_classes": num_classes, "dropout_rate": options.dropout}
    if options.name in ("gat", "gatv2"):
        return GAT(
            hidden,
            num_heads=options.heads,
            output_heads=options.output_heads,
            attention_dropout=options.dropout,
            version=1 if options.name == "gat" else 2,
            use_edges=use_edges,
            **shared,
        )
    if options.name == "gcn":
        return GCN(hidden, normalize=not sampled, **shared)
    if options.name == "sage":
        return GraphSAGE(hidden, **shared)
    if options.name == "chebnet":
        kind: Literal["given", "symmetric"] = "given" if sampled else "symmetric"
        return ChebNet(hidden, order=options.hops + 1, normalization=kind, **shared)
    if options.name == "monet":
        return MoNet(hidden, num_kernels=options.kernels, use_edges=use_edges or sampled, **shared)
    if options.name == "dcnn":
        return DCNN(num_hops=options.hops + 1, **shared)
    if options.name == "gin":
        return GIN(every, **shared)
    if options.name == "nn4g":
        return NN4GNet(every, **shared)
    if options.name == "dgcnn":
        return DGCNN(every, nearest=options.nearest, **shared)
    raise ValueError(f"--model.name {options.name}: expected one of {', '.join(NETWORKS)}")
