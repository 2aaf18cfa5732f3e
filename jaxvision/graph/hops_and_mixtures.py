"""More networks of nodes: diffusion over hops, Gaussian mixtures over degrees, and contextual units."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.core import Graph
from jaxvision.graph.networks import node_logits
from jaxvision.layers import NN4G, DiffusionConv, Dropout, GMMConv
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
        return node_logits(x, graph, self.num_classes, dropout_rate=self.dropout_rate, train=train)


class MoNet(nn.Module):
    """Mixture model network over the degrees of an edge's ends, or over edges' features.

    Submodules: ``conv{i}``, :class:`jaxvision.layers.GMMConv`.

    Attributes:
      hidden: widths of the hidden layers.
      num_classes: number of classes K; None for features.
      num_kernels: Gaussians of a layer.
      dropout_rate: in front of each layer.
      use_edges: take the edges' features ``[E, D]``, or weights ``[E]``, as pseudo-coordinates, as the paper
        does with places in an image; else those of degrees.

    References:
      Monti et al. 2017, *Geometric Deep Learning on Graphs and Manifolds using Mixture Model CNNs*, section
      5.2.
    """

    hidden: Sequence[int] = (16,)
    num_classes: int | None = None
    num_kernels: int = 3
    dropout_rate: float = 0.5
    use_edges: bool = False

    @nn.compact
    def __call__(self, graph: Graph, *, neighbours: Neighbours | None = None, train: bool) -> jax.Array:
        """Maps a graph of nodes ``[V, F]`` to logits ``[V, K]``, float32, or features.

        Args:
          graph: the graph, or a padded batch of graphs; its edges' features are read with ``use_edges`` only.
          neighbours: its edges prepared by :func:`jaxvision.ops.plan_neighbours`, or None.
          train: whether dropout drops (rng ``"dropout"``).
        """
        places = graph.edges if self.use_edges else degree_coordinates(graph)
        if places is not None and places.ndim == 1:
            places = places[:, None]  # [E, 1]
        graph = graph._replace(edges=places)
        widths = [*self.hidden] + ([] if self.num_classes is None else [self.num_classes])
        x = mask_rows(graph.nodes, graph.where_nodes)
        for index, width in enumerate(widths):
            layer = GMMConv(width, self.num_kernels, name=f"conv{index}")
            x = layer(graph._replace(nodes=Dropout(self.dropout_rate)(x, train=train)), neighbours=neighbours)
            x = nn.relu(x) if index < len(self.hidden) else x.astype(jnp.float32)
        return x


class NN4GNet(nn.Module):
    """Neural network for graphs: the states of all hidden layers side by side, or logits of nodes.

    Submodules: ``states``, :class:`jaxvision.layers.NN4G`, and ``head`` for logits. Of whole graphs the
    paper's output is a dense layer on the mean of the states: :class:`GraphClassifier` with readout "mean".

    Attributes:
      hidden: units of the layers; layer ``k`` sees ``k - 1`` edges far.
      num_classes: number of classes K of nodes; None for the states ``[V, sum of hidden]``.
      dropout_rate: in front of the head; the paper has none.
      dtype: dtype of the computation; logits are float32.

    References:
      Micheli 2009, *Neural Network for Graphs: A Contextual Constructive Approach*, section III.
    """

    hidden: Sequence[int] = (16, 16)
    num_classes: int | None = None
    dropout_rate: float = 0.5
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, graph: Graph, *, neighbours: Neighbours | None = None, train: bool) -> jax.Array:
        """Maps a graph of nodes ``[V, F]`` to logits ``[V, K]``, float32, or states.

        Args:
          graph: the graph, or a padded batch of graphs; its edges' features are not read.
          neighbours: its edges prepared by :func:`jaxvision.ops.plan_neighbours`, or None.
          train: whether dropout drops (rng ``"dropout"``).

        Raises:
          ValueError: if the graph's arrays do not fit together, or there is no layer.
        """
        x = NN4G(self.hidden, dtype=self.dtype, name="states")(graph, neighbours=neighbours)
        if self.num_classes is None:
            return x
        return node_logits(
            x, graph, self.num_classes, dropout_rate=self.dropout_rate, dtype=self.dtype, train=train
        )
