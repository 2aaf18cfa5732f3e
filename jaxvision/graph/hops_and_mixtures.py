"""Two more networks of nodes: diffusion over hops, and Gaussian mixtures over degrees."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxvision.core import Graph
from jaxvision.layers import DiffusionConv, Dropout, GMMConv
from jaxvision.layers.graph_mixture import degree_coordinates
from jaxvision.layers.message_passing import mask_rows
from jaxvision.ops import Neighbours


class DCNN(nn.Module):
    """Diffusion-convolutional network. Submodules: ``conv0`` and ``head``.

    Attributes:
      num_classes: number of classes K; None for the features of all hops ``[V, H F]``.
      num_hops: H, powers of the transition matrix, from the node itself on.
      dropout_rate: in front of the dense layer, which is the paper's; its dropout is not.

    References:
      Atwood and Towsley 2016, *Diffusion-Convolutional Neural Networks*, section 2.
    """

    num_classes: int | None = None
    num_hops: int = 3
    dropout_rate: float = 0.5

    @nn.compact
    def __call__(self, graph: Graph, *, neighbours: Neighbours | None = None, train: bool) -> jax.Array:
        """Maps a graph of nodes ``[V, F]`` to logits ``[V, K]``, float32, or features.

        Args:
          graph: the graph, or a padded batch of graphs.
          neighbours: its edges prepared by :func:`jaxvision.ops.plan_neighbours`, or None.
          train: whether dropout drops (rng ``"dropout"``).
        """
        x = DiffusionConv(self.num_hops, name="conv0")(graph, neighbours=neighbours)
        if self.num_classes is None:
            return x
        logits = nn.Dense(self.num_classes, name="head")(Dropout(self.dropout_rate)(x, train=train))
        return mask_rows(logits.astype(jnp.float32), graph.where_nodes)  # [V, K]


class MoNet(nn.Module):
    """Mixture model network over the degrees of an edge's ends. Submodules: ``conv{i}``.

    Attributes:
      hidden: widths of the hidden layers.
      num_classes: number of classes K; None for features.
      num_kernels: Gaussians of a layer.
      dropout_rate: in front of each layer.

    References:
      Monti et al. 2017, *Geometric Deep Learning on Graphs and Manifolds using Mixture Model CNNs*, section
      5.2.
    """

    hidden: Sequence[int] = (16,)
    num_classes: int | None = None
    num_kernels: int = 3
    dropout_rate: float = 0.5

    @nn.compact
    def __call__(self, graph: Graph, *, neighbours: Neighbours | None = None, train: bool) -> jax.Array:
        """Maps a graph of nodes ``[V, F]`` to logits ``[V, K]``, float32, or features.

        Args:
          graph: the graph, or a padded batch of graphs; its edges' features are not read.
          neighbours: its edges prepared by :func:`jaxvision.ops.plan_neighbours`, or None.
          train: whether dropout drops (rng ``"dropout"``).
        """
        graph = graph._replace(edges=degree_coordinates(graph))
        widths = [*self.hidden] + ([] if self.num_classes is None else [self.num_classes])
        x = mask_rows(graph.nodes, graph.where_nodes)
        for index, width in enumerate(widths):
            layer = GMMConv(width, self.num_kernels, name=f"conv{index}")
            x = layer(graph._replace(nodes=Dropout(self.dropout_rate)(x, train=train)), neighbours=neighbours)
            x = nn.relu(x) if index < len(self.hidden) else x.astype(jnp.float32)
        return x
