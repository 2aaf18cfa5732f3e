"""word2vec in the training loop: its task, the order of its chunks, and its step on one device or many."""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxvision.core import Term
from jaxvision.data import EpochOrder, check_position
from jaxvision.sequence import Word2Vec, WordCorpus, first_batch_loss, train_chunk
from jaxvision.tasks.shared_data_step import SharedStep, compile_shared_step
from jaxvision.training import Batch, CompiledStep, Placement, Task, TrainState

__all__ = ["ChunkBatches", "compile_word_step", "mean_loss", "word_table", "word_task"]


def word_task(model: Word2Vec, corpus: WordCorpus) -> Task:
    """The tables as a :class:`jaxvision.training.Task`; a batch holds ``chunk`` int32 ``[1]``, its number.

    Its loss is that of the chunk's first batch, for the guard that looks for what went wrong; the step that
    trains is :func:`compile_word_step`'s.

    Args:
      model: what is learned.
      corpus: the text, on one device.
    """
    chunk_size = corpus.chunk_size

    def loss(params: Any, model_state: Any, batch: Batch, key: jax.Array) -> tuple[dict[str, Term], Any]:
        term = first_batch_loss(model, params, corpus, batch["chunk"][0], key, chunk_size=chunk_size)
        return {"loss": term}, model_state

    return Task(
        init=lambda key: {"params": model.init(key)},
        loss=loss,
        predict=lambda variables, words: word_table(variables["params"])[words],
        counts=lambda variables, batch: loss(variables["params"], {}, batch, jax.random.key(0))[0]["loss"],
        score=lambda counts: {"loss": float(counts.mean())},
    )


def word_table(tables: Mapping[str, Any]) -> Any:
    """The vectors of the words: the inputs, or of pv-dbow, whose words have none, the outputs."""
    return tables["input" if "input" in tables else "output"]


class ChunkBatches(Iterator[dict[str, np.ndarray]]):
    """Numbers of chunks without end, each epoch in a new order; the position can be saved.

    Args:
      num_chunks: of the corpus.
      seed: of the orders.
      copies: how often a batch holds its number: once a device.
      checksum: of the text, so that a position is not taken for one in another text of as many chunks.
    """

    def __init__(self, num_chunks: int, *, seed: int, copies: int, checksum: int = 0) -> None:
        self._identity = {"seed": seed, "num_chunks": num_chunks, "checksum": checksum}
        self._copies = copies
        self._next = 0
        self._order = EpochOrder(num_chunks, seed=seed)

    def __next__(self) -> dict[str, np.ndarray]:
        epoch, place = divmod(self._next, self._identity["num_chunks"])
        self._next += 1
        return {"chunk": np.full(self._copies, self._order(epoch)[place], np.int32)}

    def get_state(self) -> dict[str, int]:
        """The position, as JSON."""
        return {"next_chunk": self._next, **self._identity}

    def set_state(self, state: Mapping[str, int]) -> None:
        """Goes to a position.

        Raises:
          ValueError: if it belongs to chunks of another text or seed.
        """
        check_position(state, self._identity, of="chunks", settings="text and the settings")
        self._next = int(state["next_chunk"])


def compile_word_step(
    model: Word2Vec, corpus: WordCorpus, placement: Placement, schedule: optax.Schedule
) -> CompiledStep:
    """The step that trains on one chunk, compiled at its first call, with the corpus on every device.

    Under ``jit``, too, the devices run one program each (``shard_map``): what they exchange are the rows of a
    batch, not whole tables, as the compiler would of itself.

    Args:
      model: what is learned.
      corpus: the text, on one device.
      placement: one device, or several that share each batch.
      schedule: ``step -> learning rate``.

    Raises:
      ValueError: if the devices cannot share a batch, or the placement splits the tables.
    """
    placement.check_batch_size(model.batch_size)
    make = functools.partial(_word_step, model, schedule, corpus.chunk_size)
    return compile_shared_step(make, corpus, placement)


def _word_step(
    model: Word2Vec, schedule: optax.Schedule, chunk_size: int, axis_name: str | None
) -> SharedStep:
    def step(state: TrainState, batch: Batch, corpus: WordCorpus) -> tuple[TrainState, dict[str, jax.Array]]:
        result = train_chunk(
            model,
            state.params,
            corpus,
            batch["chunk"][0],
            jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step),
            jnp.asarray(schedule(state.step), jnp.float32),
            chunk_size=chunk_size,
            axis_name=axis_name,
        )
        loss = Term(result.loss, result.pairs).mean()
        new = state.replace(step=state.step + 1, params=result.tables)
        return new, {"loss": loss, "pairs": result.pairs, "finite": result.finite}

    return step


def mean_loss(
    model: Word2Vec, tables: Mapping[str, Any], corpus: WordCorpus, *, seed: int = 0, most: int = 20
) -> float:
    """Mean loss of a pair over the text, or over ``most`` chunks evenly out of it."""
    chunk_size, chunks = corpus.chunk_size, len(corpus.starts)

    @jax.jit
    def measure(tables: Mapping[str, jax.Array], corpus: WordCorpus, chunk: jax.Array) -> Term:
        key = jax.random.fold_in(jax.random.key(seed), chunk)
        result = train_chunk(
            model, tables, corpus, chunk, key, jnp.float32(0), chunk_size=chunk_size, trained=()
        )
        return Term(result.loss, result.pairs)

    chosen = np.unique(np.linspace(0, chunks - 1, min(chunks, most)).astype(np.int32))
    terms = [measure(dict(tables), corpus, chunk) for chunk in chosen]
    total, weight = (sum(float(part) for part in parts) for parts in zip(*terms, strict=True))
    return total / max(weight, 1.0)
