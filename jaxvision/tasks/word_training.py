"""word2vec in the training loop: its task, the order of its chunks, and its step on one device or many."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import PartitionSpec

from jaxvision.core import Term
from jaxvision.data import EpochOrder, check_position
from jaxvision.sequence import Word2Vec, WordCorpus, first_batch_loss, train_chunk
from jaxvision.training import (
    DATA_AXIS,
    Batch,
    CompiledStep,
    JitPlacement,
    MemoryUse,
    Placement,
    PmapPlacement,
    Task,
    TrainState,
)

__all__ = ["ChunkBatches", "compile_word_step", "mean_loss", "word_table", "word_task"]

WordStep = Callable[[TrainState, Batch, WordCorpus], tuple[TrainState, dict[str, jax.Array]]]


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
    """

    def __init__(self, num_chunks: int, *, seed: int, copies: int) -> None:
        self._identity = {"seed": seed, "num_chunks": num_chunks}
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
      ValueError: if the devices cannot share a batch.
    """
    placement.check_batch_size(model.batch_size)
    chunk_size = corpus.chunk_size
    several = placement.num_devices > 1
    step = _word_step(model, schedule, chunk_size, DATA_AXIS if several else None)
    compiled: Any
    if isinstance(placement, PmapPlacement):
        step = _word_step(model, schedule, chunk_size, placement.axis_name)
        compiled = jax.pmap(step, axis_name=placement.axis_name, devices=placement.devices, donate_argnums=0)
    elif several:
        assert isinstance(placement, JitPlacement)
        everywhere, shared = PartitionSpec(), PartitionSpec(DATA_AXIS)
        mapped = jax.shard_map(
            step,
            mesh=placement.mesh,
            in_specs=(everywhere, shared, everywhere),
            out_specs=everywhere,
            check_vma=False,  # the tables are equal on all devices, which it cannot see
        )
        compiled = jax.jit(mapped, donate_argnums=0)
    else:
        compiled = jax.jit(step, donate_argnums=0)
    return CompiledStep(_WithCorpus(compiled, placement.place(corpus)), report=_print_memory)


def _word_step(model: Word2Vec, schedule: optax.Schedule, chunk_size: int, axis_name: str | None) -> WordStep:
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


class _WithCorpus:
    """A stage of a program whose last argument is the corpus, as one without that argument.

    A corpus that the step closed over would be a constant of the program.
    """

    def __init__(self, stage: Any, corpus: WordCorpus) -> None:
        self._stage = stage
        self._corpus = corpus

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        result: tuple[TrainState, dict[str, jax.Array]] = self._stage(state, batch, self._corpus)
        return result

    def lower(self, state: TrainState, batch: Batch) -> "_WithCorpus":
        return _WithCorpus(self._stage.lower(state, batch, self._corpus), self._corpus)

    def compile(self) -> "_WithCorpus":
        return _WithCorpus(self._stage.compile(), self._corpus)

    def memory_analysis(self) -> Any:
        return self._stage.memory_analysis()

    def as_text(self) -> Any:
        return self._stage.as_text()


def _print_memory(use: MemoryUse) -> None:
    print(use)


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
