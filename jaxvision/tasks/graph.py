"""Tasks of graphs: classes of nodes, classes of graphs, and which pairs of nodes are linked.

A batch is what ``jaxvision.data.graph_loaders`` makes: the fields of a graph with D parts in front,
``labels``, ``where``, and for links ``pairs``. Of one whole graph it may hold ``neighbours`` and ``nonzero``,
which are passed on to the network. Predictions have the same D in front.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxvision.core import Graph, Term, flatten_paths
from jaxvision.data import batch_graph
from jaxvision.losses import binary_cross_entropy_loss, cross_entropy_loss, sum_term
from jaxvision.metrics import average_precision, ranking_counts, roc_auc
from jaxvision.optimizers import check_patterns, path_matches
from jaxvision.tasks.classification import classification_counts, classification_scores
from jaxvision.training import Batch, Task, Variables


class Penalty(NamedTuple):
    """An L2 penalty that is a term of the loss: the sum of squares, times half its strength.

    Attributes:
      strength: 0 for none.
      layers: path patterns of what is penalised, such as ``"conv1"``: matrices below them, no biases; empty
        for all matrices.

    References:
      Kipf and Welling 2017, "Semi-Supervised Classification with Graph Convolutional Networks", section 5.2:
      5e-4 on the first layer alone.
    """

    strength: float = 0.0
    layers: tuple[str, ...] = ()


class GraphShape(NamedTuple):
    """What the parameters of a network depend on.

    Attributes:
      num_features: F, of a node.
      edge_shape: of one edge's features: ``()`` for weights, ``(D,)``, or None where edges carry nothing.
    """

    num_features: int
    edge_shape: tuple[int, ...] | None = None


def node_task(model: nn.Module, shape: GraphShape, *, penalty: Penalty | None = None) -> Task:
    """Makes a network that gives each node the logits of its class into a task.

    Trained on are the nodes where ``where`` ``[D, V]`` says so; messages run over all of them.

    Args:
      model: called as ``model.apply(variables, graph, train=...)``, gives ``[V, K]``.
      shape: of the graphs.
      penalty: on the parameters.
    """
    return _classification(model, shape, penalty)


def graph_task(model: nn.Module, shape: GraphShape, *, penalty: Penalty | None = None) -> Task:
    """Makes a network that gives each graph the logits of its class into a task.

    Args:
      model: called as ``model.apply(variables, graph, train=...)``, gives ``[G, K]``.
      shape: of the graphs.
      penalty: on the parameters.
    """
    return _classification(model, shape, penalty)


def link_task(model: nn.Module, shape: GraphShape, *, penalty: Penalty | None = None) -> Task:
    """Makes a network that scores pairs of nodes into a task: binary cross entropy, area under the ROC curve.

    Args:
      model: called as ``model.apply(variables, graph, pairs, train=...)`` with ``pairs``
        ``[M, 2]``, gives logits ``[M]``. Its batches hold one graph, D = 1.
      shape: of the graphs.
      penalty: on the parameters.
    """

    def score(variables: Variables, batch: Batch, **options: Any) -> Any:
        pairs = batch["pairs"].reshape(-1, 2)  # [M, 2]
        return model.apply(variables, joined_graph(batch), pairs, **_prepared(batch), **options)

    def init(key: jax.Array) -> Variables:
        return model.init(key, blank_graph(shape), jnp.zeros((1, 2), jnp.int32), train=False)

    def counts(variables: Variables, batch: Batch) -> dict[str, Any]:
        logits, labels, where = score(variables, batch, train=False), *_flat(batch)
        losses = binary_cross_entropy_loss(logits, labels, where=where)
        return {"ranking": ranking_counts(logits, labels, where=where), "loss": sum_term(losses, where=where)}

    def scores(counts: Mapping[str, Any]) -> dict[str, float]:
        loss, ranking = counts["loss"], counts["ranking"]
        return {
            "loss": float(loss.total / max(loss.weight, 1)),
            "auc": float(roc_auc(ranking)),
            "average_precision": float(average_precision(ranking)),
        }

    def lost(logits: jax.Array, batch: Batch) -> dict[str, Term]:
        labels, where = _flat(batch)
        losses = binary_cross_entropy_loss(logits, labels, where=where)
        return {"cross_entropy": sum_term(losses, where=where)}

    def predict(variables: Variables, batch: Any) -> jax.Array:
        logits: jax.Array = score(variables, batch, train=False)
        return logits.reshape(batch["labels"].shape)  # [D, M]

    return Task(init, _training_loss(score, lost, penalty), predict, counts, scores)


def _classification(model: nn.Module, shape: GraphShape, penalty: Penalty | None) -> Task:
    def score(variables: Variables, batch: Batch, **options: Any) -> Any:
        return model.apply(variables, joined_graph(batch), **_prepared(batch), **options)

    def init(key: jax.Array) -> Variables:
        return model.init(key, blank_graph(shape), train=False)

    def counts(variables: Variables, batch: Batch) -> dict[str, Any]:
        labels, where = _flat(batch)
        return classification_counts(score(variables, batch, train=False), labels, where=where)

    def lost(logits: jax.Array, batch: Batch) -> dict[str, Term]:
        labels, where = _flat(batch)
        return {"cross_entropy": sum_term(cross_entropy_loss(logits, labels, where=where), where=where)}

    def predict(variables: Variables, batch: Any) -> jax.Array:
        logits: jax.Array = score(variables, batch, train=False)
        return logits.reshape(*batch["labels"].shape, -1)  # [D, V, K] or [D, G, K]

    return Task(init, _training_loss(score, lost, penalty), predict, counts, classification_scores)


def _training_loss(
    score: Callable[..., Any], lost: Callable[[jax.Array, Batch], dict[str, Term]], penalty: Penalty | None
) -> Callable[[Any, Any, Batch, jax.Array], tuple[dict[str, Term], Any]]:
    def loss(params: Any, model_state: Any, batch: Batch, key: jax.Array) -> tuple[dict[str, Term], Any]:
        variables = {"params": params, **model_state}
        logits, updates = score(
            variables, batch, train=True, rngs={"dropout": key}, mutable=list(model_state)
        )
        terms = lost(logits, batch)
        if penalty is not None and penalty.strength > 0:
            terms["penalty"] = penalty_term(params, penalty)
        return terms, dict(updates)

    return loss


def penalty_term(params: Any, penalty: Penalty) -> Term:
    """The penalty as a term of weight 1.

    Raises:
      ValueError: if a pattern matches no parameter.

    >>> params = {"conv1": {"kernel": jnp.full((1, 2), 3.0), "bias": jnp.ones(2)}}
    >>> params["conv2"] = {"kernel": jnp.ones((2, 2))}
    >>> float(penalty_term(params, Penalty(0.5, ("conv1",))).mean())
    4.5
    """
    check_patterns(penalty.layers, params)
    chosen = [
        leaf
        for path, leaf in flatten_paths(params).items()
        if leaf.ndim > 1
        and (not penalty.layers or any(path_matches(pattern, path) for pattern in penalty.layers))
    ]
    squares = sum((jnp.sum(jnp.square(leaf)) for leaf in chosen), start=jnp.float32(0.0))
    return Term(0.5 * penalty.strength * squares, jnp.float32(1.0))


def blank_graph(shape: GraphShape) -> Graph:
    """Two nodes with one edge each, all zeros: what parameters are initialised with."""
    true = jnp.ones(2, bool)
    ends = jnp.arange(2, dtype=jnp.int32)
    edges = None if shape.edge_shape is None else jnp.zeros((2, *shape.edge_shape))
    nodes, graph_ids = jnp.zeros((2, shape.num_features)), jnp.zeros(2, jnp.int32)
    return Graph(nodes, ends, ends, true, true, graph_ids, true[:1], edges)


def joined_graph(batch: Batch) -> Graph:
    """The D parts of a batch as one graph: side by side, each with its padding at its own end."""
    graph = batch_graph(batch)
    parts, num_nodes = graph.nodes.shape[:2]
    if parts == 1:
        return jax.tree.map(lambda x: x[0], graph)
    number = jnp.arange(parts, dtype=jnp.int32)[:, None]  # [D, 1]

    def shifted(array: jax.Array, step: int) -> jax.Array:
        return array + jnp.broadcast_to(number * step, array.shape)

    graph = graph._replace(
        senders=shifted(graph.senders, num_nodes),
        receivers=shifted(graph.receivers, num_nodes),
        graph_ids=shifted(graph.graph_ids, graph.where_graphs.shape[1]),
    )
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), graph)


def _prepared(batch: Batch) -> dict[str, Any]:
    """What was prepared of a whole graph on the host, as options of the network."""
    return {name: batch[name] for name in ("neighbours", "nonzero") if name in batch}


def _flat(batch: Batch) -> tuple[jax.Array, jax.Array]:
    return batch["labels"].reshape(-1), batch["where"].reshape(-1)
