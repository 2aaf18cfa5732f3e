"""Mixture model convolution: neighbours weighted by Gaussians of where they lie."""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax.typing import DTypeLike

from jaxvision.core import Graph
from jaxvision.layers.initializers import Initializer, xavier_uniform
from jaxvision.layers.message_passing import (
    Edges,
    WeightedRows,
    edges_of,
    in_degrees,
    mean_messages,
    pass_messages,
    sum_messages,
)
from jaxvision.ops.neighbours import Neighbours

_EPSILON = 1e-15  # added to the squared deviations, as in PyTorch Geometric


class GMMConv(nn.Module):
    """MoNet: Gaussian mixture convolution, as PyTorch Geometric's ``GMMConv``.

    .. math:: x_v' = \\sum_k aggregate_{u \\to v} \\, w_k(e) \\, G_k x_u + R x_v + b, \\quad
       w_k(e) = \\exp(-\\tfrac12 \\sum_d (e_d - \\mu_{kd})^2 / \\sigma_{kd}^2)

    with pseudo-coordinates ``e`` of the edges, which are the graph's ``edges`` ``[E, D]``; of a graph without
    any place, :func:`degree_coordinates`.

    Parameters, float32: ``kernel`` ``[F, num_kernels * features]``, ``means`` and ``deviations``
    ``[num_kernels, D]``, ``root_kernel`` ``[F, features]``, ``bias`` ``[features]``.

    Attributes:
      features: width of the output.
      num_kernels: number of Gaussians K.
      aggregator: "mean", as PyTorch Geometric, or "sum", as the paper.
      use_root: whether a linear function of the node itself is added; the paper has none.
      use_bias: whether to add a bias.
      kernel_init: initialiser of kernels, means and deviations.
      bias_init: initialiser of the bias.
      dtype: dtype of the products and the result; by default that of the nodes and the parameters together.
        Gaussians and sums over neighbours are float32 at least.

    References:
      Monti et al. 2017, *Geometric Deep Learning on Graphs and Manifolds using Mixture Model CNNs*, equations
      9 to 11.
    """

    features: int
    num_kernels: int
    aggregator: Literal["mean", "sum"] = "mean"
    use_root: bool = True
    use_bias: bool = True
    kernel_init: Initializer = xavier_uniform()
    bias_init: Initializer = nn.initializers.zeros_init()
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, graph: Graph, *, neighbours: Neighbours | None = None) -> jax.Array:
        """Maps a graph of nodes ``[V, F]`` to ``[V, features]``, zeros in the padding.

        Raises:
          ValueError: if the graph's arrays do not fit together, there are no pseudo-coordinates, or the
            aggregator is unknown.
        """
        if self.aggregator not in ("mean", "sum"):
            raise ValueError(f"aggregator: expected mean or sum, got {self.aggregator!r}")
        edges = edges_of(graph, neighbours)
        if edges.features is None or edges.features.ndim != 2:
            raise ValueError(
                "edges: expected pseudo-coordinates [E, D], got "
                f"{None if edges.features is None else list(edges.features.shape)}; degree_coordinates makes "
                "them of any graph"
            )
        width, init = edges.nodes.shape[-1], self.kernel_init
        kernel = self.param("kernel", init, (width, self.num_kernels * self.features), jnp.float32)
        root = self.param("root_kernel", init, (width, self.features), jnp.float32) if self.use_root else None
        bias = self.param("bias", self.bias_init, (self.features,), jnp.float32) if self.use_bias else None
        x, kernel, root, bias = promote_dtype(edges.nodes, kernel, root, bias, dtype=self.dtype)
        weights = self._gaussians(edges.features)  # [E, K]

        def update(nodes: jax.Array, gathered: jax.Array) -> jax.Array:
            y = gathered.sum(1)  # [V, features]
            y = y if root is None else y + x @ root
            return y if bias is None else y + bias[None]

        return pass_messages(
            graph._replace(nodes=(x @ kernel).reshape(-1, self.num_kernels, self.features)),
            message=lambda edges: WeightedRows(edges.nodes, weights),
            aggregate=mean_messages if self.aggregator == "mean" else sum_messages,
            update=update,
            neighbours=neighbours,
        )

    def _gaussians(self, places: jax.Array) -> jax.Array:
        """Weights ``[E, K]`` of places ``[E, D]``, float32."""
        shape = (self.num_kernels, places.shape[1])
        means = self.param("means", self.kernel_init, shape, jnp.float32)
        deviations = self.param("deviations", self.kernel_init, shape, jnp.float32)
        whole = (places.shape[0], *shape)
        distances = jnp.broadcast_to(places.astype(jnp.float32)[:, None], whole) - jnp.broadcast_to(
            means[None], whole
        )
        precision = 1 / (_EPSILON + jnp.square(deviations))
        return jnp.exp(-0.5 * (jnp.square(distances) * jnp.broadcast_to(precision[None], whole)).sum(-1))


def degree_coordinates(graph: Graph) -> jax.Array:
    """Pseudo-coordinates of a graph without places: of the degrees of an edge's two ends.

    .. math:: u(v, u) = (1 / \\sqrt{\\deg v}, 1 / \\sqrt{\\deg u})

    Args:
      graph: the graph, undirected (every edge twice).

    Returns:
      ``[E, 2]``, float32, receiver first; zeros in the padding.

    Raises:
      ValueError: if the graph's arrays do not fit together.

    References:
      Monti et al. 2017, section 5.2.
    """
    edges: Edges = edges_of(graph, None)
    roots = jax.lax.rsqrt(jnp.maximum(in_degrees(edges), 1))
    places = jnp.stack([roots[edges.receivers], roots[edges.senders]], -1)
    return jnp.where(jnp.broadcast_to(edges.where[:, None], places.shape), places, 0)
