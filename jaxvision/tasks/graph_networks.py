"""The network of a run on graphs, as a script's options."""

import dataclasses
from typing import Any, Literal

import flax.linen as nn

from jaxvision.graph import DCNN, GAT, GCN, GIN, ChebNet, EdgeScorer, GraphClassifier, GraphSAGE, MoNet

NETWORKS = ("gcn", "chebnet", "sage", "gat", "gatv2", "gin", "dcnn", "monet")
"""Names of networks."""


@dataclasses.dataclass(frozen=True)
class GraphModelOptions:
    """The network."""

    name: str = "gcn"
    """gcn, chebnet, sage, gat, gatv2, gin, dcnn or monet."""
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
        if not 0 <= self.dropout <= 1 or self.hops < 0:
            raise ValueError(
                f"--model.dropout {self.dropout}, --model.hops {self.hops}: expected 0 to 1, and 0 or more"
            )

    @property
    def drops_features(self) -> bool:
        """Whether the network drops out the features themselves, and so may draw for their nonzeros alone."""
        return self.name in ("gcn", "chebnet", "sage", "gat", "gatv2") and self.dropout > 0


def node_classifier(options: GraphModelOptions, num_classes: int) -> nn.Module:
    """The network that gives each node the logits of its class.

    Raises:
      ValueError: if there is no such network.
    """
    return _network(options, (options.hidden,) * (options.layers - 1), num_classes)


def graph_classifier(options: GraphModelOptions, num_classes: int) -> nn.Module:
    """The network that gives each graph the logits of its class.

    Raises:
      ValueError: if there is no such network.
    """
    backbone = _network(options, (options.hidden,) * options.layers, None)
    return GraphClassifier(backbone, num_classes, options.readout, options.dropout)


def link_scorer(options: GraphModelOptions) -> nn.Module:
    """The network that gives pairs of nodes the logit of an edge.

    Raises:
      ValueError: if there is no such network.
    """
    # The last layer is linear, like that of the graph auto-encoder: an embedding may be negative.
    encoder = _network(options, (options.hidden,) * (options.layers - 1), options.out)
    return EdgeScorer(encoder, options.out if options.decoder == "mlp" else None)


def _network(options: GraphModelOptions, hidden: tuple[int, ...], num_classes: int | None) -> nn.Module:
    shared: dict[str, Any] = {"num_classes": num_classes, "dropout_rate": options.dropout}
    if options.name in ("gat", "gatv2"):
        return GAT(
            hidden,
            num_heads=options.heads,
            output_heads=options.output_heads,
            attention_dropout=options.dropout,
            version=1 if options.name == "gat" else 2,
            **shared,
        )
    if options.name == "dcnn":
        return DCNN(num_hops=options.hops + 1, **shared)
    if options.name == "gin":
        return GIN(hidden or (options.hidden,), **shared)
    simple = {"gcn": GCN, "sage": GraphSAGE}
    if options.name in simple:
        return simple[options.name](hidden, **shared)
    if options.name == "chebnet":
        return ChebNet(hidden, order=options.hops + 1, **shared)
    if options.name == "monet":
        return MoNet(hidden, num_kernels=options.kernels, **shared)
    raise ValueError(f"--model.name {options.name}: expected one of {', '.join(NETWORKS)}")
