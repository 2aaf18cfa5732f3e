"""Spectral filters as Chebyshev polynomials of the graph's Laplacian."""

import functools
from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.core import Graph
from jaxvision.layers.graph_gcn import inverse_root
from jaxvision.layers.initializers import Initializer, xavier_uniform
from jaxvision.layers.message_passing import (
    WeightedRows,
    edge_weights,
    edges_of,
    pass_messages,
    scale_rows,
    sum_messages,
)
from jaxvision.ops.neighbours import Neighbours
from jaxvision.ops.segments import segment_sum


class ChebConv(nn.Module):
    """Chebyshev filters, as PyTorch Geometric's ``ChebConv``.

    .. math:: X' = \\sum_{k=0}^{K-1} T_k(\\hat L) X W_k + b, \\quad \\hat L = 2 L / \\lambda_{max} - I

    with the polynomials ``T_0 = 1``, ``T_1 = x``, ``T_k = 2 x T_{k-1} - T_{k-2}``. Edges from a node to
    itself are taken out. Degrees are of a node's outgoing edges, as there; of an undirected graph that is the
    same.

    Submodules: ``order0`` to ``order{K-1}``, dense without bias; parameter ``bias`` ``[features]``.

    Attributes:
      features: width of the output.
      order: number of polynomials, K: a filter reaches K - 1 edges far.
      normalization: of the Laplacian: "symmetric", ``I - D^-1/2 A D^-1/2``; "random_walk", ``I - D^-1 A``;
        None, ``D - A``; "given", ``I - A`` with weights that are normalised already, such as
        :func:`jaxvision.data.whole_graph_edges` makes for parts of a graph.
      largest_eigenvalue: ``lambda_max``; None for 2, the bound of the two normalised Laplacians. The plain
        one needs its own.
      use_bias: whether to add a bias.
      kernel_init: initialiser of the kernels.
      bias_init: initialiser of the bias.
      dtype: dtype of the computation and the result; by default that of the nodes and the parameters
        together. Sums over neighbours are float32 at least.

    References:
      Defferrard et al. 2016, *Convolutional Neural Networks on Graphs with Fast Localized Spectral
      Filtering*, equations 4 and 5.
    """

    features: int
    order: int
    normalization: Literal["symmetric", "random_walk", "given"] | None = "symmetric"
    largest_eigenvalue: float | None = None
    use_bias: bool = True
    kernel_init: Initializer = xavier_uniform()
    bias_init: Initializer = nn.initializers.zeros_init()
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, graph: Graph, *, neighbours: Neighbours | None = None) -> jax.Array:
        """Maps a graph of nodes ``[V, F]`` to ``[V, features]``, zeros in the padding.

        Raises:
          ValueError: if the graph's arrays do not fit together, an edge has more than one feature, ``order``
            is below 1, or a plain Laplacian has no largest eigenvalue.
        """
        if self.order < 1:
            raise ValueError(f"order: expected at least 1 polynomial, got {self.order}")
        x = edges_of(graph, neighbours).nodes
        weights, diagonal = self._laplacian(graph, neighbours)

        def laplacian(x: jax.Array) -> jax.Array:
            return pass_messages(
                graph._replace(nodes=x),
                message=lambda edges: WeightedRows(edges.nodes, weights),
                aggregate=sum_messages,
                update=lambda nodes, gathered: gathered + scale_rows(nodes, diagonal),
                neighbours=neighbours,
            )

        y = self._filter(x, laplacian)
        if self.use_bias:
            y = y + self.param("bias", self.bias_init, (self.features,), jnp.float32).astype(y.dtype)[None]
        return jnp.where(jnp.broadcast_to(graph.where_nodes[:, None], y.shape), y, 0)

    def _filter(self, x: jax.Array, laplacian: Callable[[jax.Array], jax.Array]) -> jax.Array:
        """By the polynomials' recurrence, or by Clenshaw's over the outputs where those are narrower."""
        denses = [self._dense(f"order{order}") for order in range(self.order)]
        if self.features < x.shape[-1]:
            last: jax.Array | None = None
            before: jax.Array | None = None
            for dense in denses[:0:-1]:
                term = dense(x)
                if last is not None:
                    term = term + 2 * laplacian(last)
                if before is not None:
                    term = term - before
                last, before = term, last
            term = denses[0](x)
            if last is not None:
                term = term + laplacian(last)
            return term if before is None else term - before
        terms = [x]
        for order in range(1, self.order):
            product = laplacian(terms[-1])
            terms.append(product if order == 1 else 2 * product - terms[-2])
        return functools.reduce(jnp.add, (dense(term) for dense, term in zip(denses, terms, strict=True)))

    def _laplacian(self, graph: Graph, neighbours: Neighbours | None) -> tuple[jax.Array, jax.Array]:
        """The scaled Laplacian: weights of the edges ``[E]``, and its diagonal ``[V]``."""
        edges = edges_of(graph, neighbours)
        weights = edge_weights(edges)
        is_other = edges.senders != edges.receivers
        weights = jnp.where(is_other, 1.0 if weights is None else weights.astype(jnp.float32), 0)
        degrees = segment_sum(weights, **edges.by_sender())
        if self.normalization is None:
            if self.largest_eigenvalue is None:
                raise ValueError("largest_eigenvalue: expected that of the plain Laplacian, got None")
            of_edges, of_nodes = -weights, degrees
        elif self.normalization == "given":
            of_edges, of_nodes = -weights, jnp.ones_like(degrees)
        elif self.normalization == "symmetric":
            scale = inverse_root(degrees)
            of_edges = -weights * edges.at_senders(scale) * edges.at_receivers(scale)
            of_nodes = jnp.ones_like(degrees)
        elif self.normalization == "random_walk":
            is_positive = degrees > 0
            scale = jnp.where(is_positive, 1 / jnp.where(is_positive, degrees, 1), 0)
            of_edges, of_nodes = -weights * edges.at_senders(scale), jnp.ones_like(degrees)
        else:
            raise ValueError(
                f"normalization: expected symmetric, random_walk, given or None, got {self.normalization!r}"
            )
        factor = 2 / (2.0 if self.largest_eigenvalue is None else self.largest_eigenvalue)
        return factor * of_edges, factor * of_nodes - 1

    def _dense(self, name: str) -> nn.Dense:
        return nn.Dense(
            self.features, use_bias=False, kernel_init=self.kernel_init, dtype=self.dtype, name=name
        )
