"""Vectors of nodes: walks drawn and learned from in one compiled step, as words; and LINE's edges."""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxvision.core import Term
from jaxvision.data import EpochOrder, check_position
from jaxvision.graph import Line, LineEdges, Walks, line_chunk, line_term, visit_counts
from jaxvision.ops import AliasTable, alias_table
from jaxvision.sequence import (
    NOISE_POWER,
    HuffmanTree,
    Word2Vec,
    WordCorpus,
    first_batch_loss,
    huffman_tree,
    train_sequences,
)
from jaxvision.sequence.word_corpus import NOWHERE
from jaxvision.tasks.shared_data_step import SharedStep, compile_shared_step
from jaxvision.training import Batch, CompiledStep, Placement, Task, TrainState

__all__ = [
    "StartBatches",
    "Walk",
    "WalkData",
    "compile_line_step",
    "compile_walk_step",
    "line_task",
    "walk_corpus",
    "walk_data",
    "walk_task",
]

Walk = Callable[[jax.Array, Any, jax.Array], Walks]
"""``(key, graph, starts) -> walks``, with the graph that the walk is made for."""


class WalkData(NamedTuple):
    """What walks and noise are drawn from.

    Attributes:
      graph: a :class:`jaxvision.graph.WalkGraph` or a :class:`jaxvision.graph.ContextGraph`.
      noise: the distribution of the negative samples.
      tree: the hierarchical softmax's tree, or None.
    """

    graph: Any
    noise: AliasTable
    tree: HuffmanTree | None


def walk_data(model: Word2Vec, walk: Walk, graph: Any, *, seed: int) -> WalkData:
    """Walks once from every node, and makes noise or tree from how often each node comes.

    Args:
      model: what is learned.
      walk: how.
      graph: where.
      seed: of these walks, which are not trained on.
    """
    compiled = jax.jit(walk)
    counts = visit_counts(
        jax.random.key(seed),
        lambda key, starts: compiled(key, graph, starts),
        num_nodes=model.vocabulary_size,
    )
    tree = huffman_tree(counts) if model.loss == "hierarchical" else None
    return WalkData(graph, alias_table(counts.astype(np.float64) ** NOISE_POWER), tree)


def walk_corpus(walks: Walks, data: WalkData) -> WordCorpus:
    """Walks as a text of one chunk, a walk a sentence, to take a loss of; goes through ``jit``.

    Args:
      walks: ``[N, L]``; nodes that are masked are in no window.
      data: of the graph.
    """
    size, num_nodes = walks.nodes.size, data.noise.threshold.shape[0]
    number = jnp.broadcast_to(jnp.arange(len(walks.nodes), dtype=jnp.int32)[:, None], walks.nodes.shape)
    sentences = jnp.where(walks.where, number, NOWHERE)
    return WordCorpus(
        tokens=walks.nodes.reshape(-1),
        sentences=sentences.reshape(-1),
        documents=jnp.zeros(size, jnp.int32),
        starts=jnp.zeros(1, jnp.int32),
        ends=jnp.full(1, size, jnp.int32),
        keep=jnp.ones(num_nodes),
        noise=data.noise,
        tree=data.tree,
    )


class StartBatches(Iterator[dict[str, np.ndarray]]):
    """Start nodes without end: every node once an epoch, in a new order; the position can be saved.

    A batch holds ``starts`` int32 ``[copies, size]``: every device gets all of them and draws the same walks.
    To walk takes much less time than to learn from walks, and a step of a walk waits for the one before
    whatever the number of walks; the devices share what is learned.

    Args:
      num_nodes: V.
      size: walks a batch; one may reach into the next epoch.
      seed: of the orders.
      copies: once a device.
    """

    def __init__(self, num_nodes: int, size: int, *, seed: int, copies: int) -> None:
        self._identity = {"seed": seed, "num_nodes": num_nodes, "size": size}
        self._copies = copies
        self._next = 0
        self._order = EpochOrder(num_nodes, seed=seed)

    def __next__(self) -> dict[str, np.ndarray]:
        num_nodes, size = self._identity["num_nodes"], self._identity["size"]
        place, end = self._next * size, (self._next + 1) * size
        parts = []
        while place < end:
            epoch, skipped = divmod(place, num_nodes)
            part = self._order(epoch)[skipped : skipped + end - place]
            parts.append(part)
            place += len(part)
        self._next += 1
        return {"starts": np.tile(np.concatenate(parts).astype(np.int32), (self._copies, 1))}

    def get_state(self) -> dict[str, int]:
        """The position, as JSON."""
        return {"next_batch": self._next, **self._identity}

    def set_state(self, state: Mapping[str, int]) -> None:
        """Goes to a position.

        Raises:
          ValueError: if it belongs to batches of another graph, size or seed.
        """
        check_position(state, self._identity, of="walks", settings="graph and the settings")
        self._next = int(state["next_batch"])


def walk_task(model: Word2Vec, walk: Walk, data: WalkData) -> Task:
    """A skip-gram over walks as a :class:`jaxvision.training.Task`.

    Its loss is that of the first words of a batch of walks, for the guard that looks for what went wrong; the
    step that trains is :func:`compile_walk_step`'s.

    Args:
      model: what is learned; its vocabulary is the nodes.
      walk: how contexts are drawn.
      data: what from, on one device.
    """

    def loss(params: Any, model_state: Any, batch: Batch, key: jax.Array) -> tuple[dict[str, Term], Any]:
        walk_key, learn_key = jax.random.split(key)
        walks = walk(walk_key, data.graph, batch["starts"][0])
        corpus = walk_corpus(walks, data)
        term = first_batch_loss(model, params, corpus, jnp.int32(0), learn_key, chunk_size=walks.nodes.size)
        return {"loss": term}, model_state

    return _task(model.init, loss, "input")


def line_task(model: Line, edges: LineEdges) -> Task:
    """LINE as a :class:`jaxvision.training.Task`; its loss is that of one batch of edges.

    Args:
      model: what is learned.
      edges: of the graph, on one device.
    """

    def loss(params: Any, model_state: Any, batch: Batch, key: jax.Array) -> tuple[dict[str, Term], Any]:
        return {"loss": line_term(model, params, edges, key)}, model_state

    return _task(model.init, loss, model.parts[0][0])


def _task(init: Callable[[jax.Array], Any], loss: Callable[..., Any], table: str) -> Task:
    return Task(
        init=lambda key: {"params": init(key)},
        loss=loss,
        predict=lambda variables, nodes: variables["params"][table][nodes],
        counts=lambda variables, batch: loss(variables["params"], {}, batch, jax.random.key(0))[0]["loss"],
        score=lambda counts: {"loss": float(counts.mean())},
    )


def compile_walk_step(
    model: Word2Vec, walk: Walk, data: WalkData, placement: Placement, schedule: optax.Schedule
) -> CompiledStep:
    """The step that walks from a batch of nodes and learns from the walks, compiled at its first call.

    Args:
      model: what is learned.
      walk: how contexts are drawn.
      data: what from, on one device.
      placement: one device, or several that share each batch of a walk's nodes.
      schedule: ``step -> learning rate``.

    Raises:
      ValueError: if the devices cannot share a batch.
    """
    placement.check_batch_size(model.batch_size)

    def learn(tables: Any, batch: Batch, data: WalkData, key: jax.Array, rate: jax.Array, axis: Any) -> Any:
        walk_key, learn_key = jax.random.split(key)
        walks = walk(walk_key, data.graph, batch["starts"][0])
        return train_sequences(
            model,
            tables,
            walks.nodes,
            learn_key,
            rate,
            noise=data.noise,
            where=walks.where,
            tree=data.tree,
            axis_name=axis,
        )

    return compile_shared_step(functools.partial(_make_step, learn, schedule), data, placement)


def compile_line_step(
    model: Line, edges: LineEdges, placement: Placement, schedule: optax.Schedule, *, batches: int
) -> CompiledStep:
    """The step that learns from some batches of edges, compiled at its first call.

    Args:
      model: what is learned.
      edges: of the graph, on one device.
      placement: one device, or several that share each batch.
      schedule: ``step -> learning rate``.
      batches: a step.

    Raises:
      ValueError: if the devices cannot share a batch.
    """
    placement.check_batch_size(model.batch_size)

    def learn(tables: Any, batch: Batch, data: LineEdges, key: jax.Array, rate: jax.Array, axis: Any) -> Any:
        return line_chunk(model, tables, data, key, rate, batches=batches, axis_name=axis)

    return compile_shared_step(functools.partial(_make_step, learn, schedule), edges, placement)


def _make_step(learn: Callable[..., Any], schedule: optax.Schedule, axis_name: str | None) -> SharedStep:
    def step(state: TrainState, batch: Batch, data: Any) -> tuple[TrainState, dict[str, jax.Array]]:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        rate = jnp.asarray(schedule(state.step), jnp.float32)
        result = learn(state.params, batch, data, key, rate, axis_name)
        new = state.replace(step=state.step + 1, params=result.tables)
        loss = Term(result.loss, result.pairs).mean()
        return new, {"loss": loss, "pairs": result.pairs, "finite": result.finite}

    return step
