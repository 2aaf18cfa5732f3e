"""word2vec and paragraph vectors: tables of vectors, trained by sparse updates inside one compiled loop.

Two ways in, both pure and to be compiled by the caller:

* ``train_chunk(model, tables, corpus, chunk, key, learning_rate, *, chunk_size)`` for a packed text;
* ``train_sequences(model, tables, sequences, key, learning_rate, *, noise, where=None)`` for an array of
  sequences int32 ``[S, L]`` with a mask, such as random walks in a graph.

The tables are a dict: ``input`` float32 ``[V, D]``, the words' vectors; ``output`` ``[V, D]``, or ``[V - 1,
D]`` of the Huffman tree's inner nodes; and for paragraph vectors ``documents`` ``[M, D]``. No Linen module:
what is trained is rows of tables, and a network's gradient would be as large as its tables.

How the updates differ from the authors' program and from gensim, where threads add to shared tables word by
word: here ``batch_size`` successive words of the text are one batch, its gradients are all taken at the
tables as they are before it, and a row that comes more than once gets the **sum** of its steps. With some
hundred words a batch, few rows come twice, and the sum learns as fast as single steps; the mean of a row's
steps would learn several times slower. Where a row comes so often that the sum would overshoot (a small
vocabulary, a text that says one word over and over, the root of the tree, a long document, a batch of
thousands of words), it is shortened to what the loss' second derivative allows. In a text of millions of
words that is rare.

The noise words are shared by the pairs of 32 successive words, each weighed so that the expected gradient is
that of independent draws: products of matrices take the place of look-ups. A noise word takes the steps of
all these pairs at once, which are shortened where they would overshoot, so that few noise words are learned
too little: with a quarter as many as words, skip-gram's vectors of the Penn Treebank agreed with the text's
own statistics to a rank correlation of 0.52, with as many to 0.61.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxvision.core import Term, check_integer, check_layout
from jaxvision.ops import AliasTable, sample_alias
from jaxvision.sequence.huffman import HuffmanTree
from jaxvision.sequence.word_batches import TableRows, Tables, WordBatch, descend, noise_of
from jaxvision.sequence.word_corpus import NOWHERE, WordCorpus, Words, close_gaps, draw_words
from jaxvision.sequence.word_model import Word2Vec

__all__ = ["ChunkResult", "first_batch_loss", "train_chunk", "train_sequences"]

_ALL_TABLES = ("input", "output", "documents")
_BUCKETS = 1 << 14


class ChunkResult(NamedTuple):
    """What :func:`train_chunk` and :func:`train_sequences` return.

    Attributes:
      tables: after the chunk.
      loss: float32 [], summed over the chunk's pairs, each taken before its batch's update.
      pairs: float32 [], how many pairs of an input and a target there were.
      finite: bool [], False if a batch's loss was not finite; that batch changed nothing.
    """

    tables: Tables
    loss: jax.Array
    pairs: jax.Array
    finite: jax.Array


class _Drawn(NamedTuple):
    """What is drawn for a chunk.

    Attributes:
      words: with room for windows before the first and behind the last batch.
      reach: int32 ``[R]``, of each word's window.
      noise: int32 ``[batches, K]``.
      tree: of the hierarchical softmax.
    """

    words: Words
    reach: jax.Array
    noise: jax.Array
    tree: HuffmanTree | None


def train_chunk(
    model: Word2Vec,
    tables: Mapping[str, jax.Array],
    corpus: WordCorpus,
    chunk: jax.Array,
    key: jax.Array,
    learning_rate: jax.Array,
    *,
    chunk_size: int,
    axis_name: str | None = None,
    trained: Collection[str] = _ALL_TABLES,
) -> ChunkResult:
    """Draws the words of a chunk and trains on them batch by batch, in one loop on the device.

    The loop runs over as many batches as the drawn words fill, so that no work goes into words that were
    thinned out. Goes through ``jit``; where ``axis_name`` is given, the devices share each batch, all draw
    the same words and all apply the rows of all, so that their tables stay equal.

    Args:
      model: what is learned.
      tables: the tables; see the module.
      corpus: the text.
      chunk: int32 [], which of the corpus' chunks.
      key: of all that is drawn.
      learning_rate: float32 [].
      chunk_size: ``corpus.chunk_size``.
      axis_name: the device axis under ``pmap`` or ``shard_map``.
      trained: tables that change; the others stay as they are.

    Raises:
      ValueError: if the devices cannot share a batch equally, or the corpus lacks the tree.
    """
    drawn = _draw(model, corpus, chunk, key, chunk_size)
    return _train(model, tables, drawn, learning_rate, axis_name, trained)


def train_sequences(
    model: Word2Vec,
    tables: Mapping[str, jax.Array],
    sequences: jax.Array,
    key: jax.Array,
    learning_rate: jax.Array,
    *,
    noise: AliasTable,
    where: jax.Array | None = None,
    tree: HuffmanTree | None = None,
    axis_name: str | None = None,
    trained: Collection[str] = _ALL_TABLES,
) -> ChunkResult:
    """Trains once on sequences that are on the device already, such as random walks in a graph.

    Args:
      model: what is learned. For paragraph vectors, sequence s is document s.
      tables: the tables; see the module.
      sequences: int32 ``[S, L]``, indices in the vocabulary; no window reaches from one row into another.
      key: of the windows and the noise.
      learning_rate: float32 [].
      noise: the distribution of the negative samples, such as
        ``alias_table(counts ** NOISE_POWER)``.
      where: bool ``[S, L]``, which places hold a token; what stands around a gap becomes neighbours. By
        default all.
      tree: :func:`jaxvision.sequence.huffman_tree` of the counts, for the hierarchical softmax.
      axis_name: as in :func:`train_chunk`: all devices are given all sequences.
      trained: tables that change; the others stay as they are.

    Raises:
      ValueError: if a shape or dtype does not fit, the devices cannot share a batch equally, or the tree is
        missing.

    References:
      Perozzi, Al-Rfou and Skiena 2014, *DeepWalk: Online Learning of Social Representations*, algorithm 2,
      for walks as sentences.
    """
    check_layout("sequences", sequences, "S L")
    check_integer(sequences=sequences)
    rows, length = sequences.shape
    if where is not None:
        check_layout("where", where, f"{rows} {length}")
    kept = jnp.ones(rows * length, bool) if where is None else where.reshape(-1)
    owners = jnp.broadcast_to(jnp.arange(rows, dtype=jnp.int32)[:, None], (rows, length)).reshape(-1)
    words = close_gaps(kept, sequences.reshape(-1).astype(jnp.int32), owners, owners)
    drawn = _draw_windows(model, words, noise, tree, key)
    return _train(model, tables, drawn, learning_rate, axis_name, trained)


def first_batch_loss(
    model: Word2Vec,
    tables: Mapping[str, jax.Array],
    corpus: WordCorpus,
    chunk: jax.Array,
    key: jax.Array,
    *,
    chunk_size: int,
) -> Term:
    """Loss of the first batch that :func:`train_chunk` sees, as a sum over pairs; ``jax.grad`` takes it.

    Its gradient is as large as the tables: it is for looking at a model, not for training one. It is that of
    the formulas: of a mean, each part has its share of the step, and no row's steps are limited.

    Args:
      model: what is learned.
      tables: the tables.
      corpus: the text.
      chunk: int32 [].
      key: of all that is drawn.
      chunk_size: ``corpus.chunk_size``.

    Raises:
      ValueError: if the corpus lacks the tree.
    """
    drawn = _draw(model, corpus, chunk, key, chunk_size)
    batch = _cut(model, drawn, jnp.int32(0), 0, model.batch_size)
    loss, pairs, _ = descend(model, dict(tables), batch, drawn.tree)
    return Term(loss, pairs)


def _draw(model: Word2Vec, corpus: WordCorpus, chunk: jax.Array, key: jax.Array, chunk_size: int) -> _Drawn:
    word_key, key = jax.random.split(key)
    words = draw_words(word_key, corpus, chunk, chunk_size=chunk_size, shuffle=model.shuffle)
    return _draw_windows(model, words, corpus.noise, corpus.tree, key)


def _draw_windows(
    model: Word2Vec, words: Words, noise: AliasTable, tree: HuffmanTree | None, key: jax.Array
) -> _Drawn:
    """How far windows reach, and the noise words of each batch."""
    if model.loss == "hierarchical" and tree is None:
        raise ValueError("tree: there is no Huffman tree; make it, or the corpus, for this model")
    reach_key, noise_key = jax.random.split(key)
    batches = max(-(-len(words.tokens) // model.batch_size), 1)
    whole = batches * model.batch_size
    room = (model.window, whole - len(words.tokens) + model.window)
    words = Words(
        jnp.pad(words.tokens, room),
        jnp.pad(words.sentences, room, constant_values=NOWHERE),
        jnp.pad(words.documents, room, constant_values=NOWHERE),
        words.total,
    )
    reach = jnp.full((whole,), model.window, jnp.int32)
    if model.shrink:
        reach = jax.random.randint(reach_key, (whole,), 1, model.window + 1, dtype=jnp.int32)
    return _Drawn(words, reach, sample_alias(noise_key, noise, (batches, model.num_noise)), tree)


def _train(
    model: Word2Vec,
    tables: Mapping[str, jax.Array],
    drawn: _Drawn,
    learning_rate: jax.Array,
    axis_name: str | None,
    trained: Collection[str],
) -> ChunkResult:
    devices = 1 if axis_name is None else jax.lax.axis_size(axis_name)
    if model.batch_size % devices:
        raise ValueError(f"batch_size: {model.batch_size} words cannot be shared by {devices} devices")
    share = model.batch_size // devices
    first = 0 if axis_name is None else jax.lax.axis_index(axis_name) * share

    def body(number: jax.Array, result: ChunkResult) -> ChunkResult:
        batch = _cut(model, drawn, number, first, share)
        loss, pairs, updates = descend(model, result.tables, batch, drawn.tree)
        updates = [update for update in updates if update.table in trained]
        if axis_name is not None:
            loss, pairs = jax.lax.psum((loss, pairs), axis_name)
            updates = [_gather(update, axis_name) for update in updates]
        finite, changed = jnp.isfinite(loss), dict(result.tables)
        for update in updates:
            table = changed[update.table]
            rates = _limit(update, table.shape[0], learning_rate)
            places = jnp.where(finite, update.indices, table.shape[0])  # rows outside are dropped
            changed[update.table] = table.at[places].add(rates[:, None] * update.rows, mode="drop")
        return ChunkResult(changed, result.loss + loss, result.pairs + pairs, result.finite & finite)

    start = ChunkResult(dict(tables), jnp.float32(0.0), jnp.float32(0.0), jnp.bool_(True))
    used = (drawn.words.total + model.batch_size - 1) // model.batch_size
    return jax.lax.fori_loop(0, used, body, start)


def _cut(model: Word2Vec, drawn: _Drawn, number: jax.Array, first: jax.Array | int, share: int) -> WordBatch:
    """A device's share of a batch: ``share`` targets from ``first`` on."""
    start = number * model.batch_size
    words = drawn.words

    def cut(array: jax.Array, size: int, skip: int | jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(array, (start + skip,), (size,))

    return WordBatch(
        cut(words.tokens, share + 2 * model.window, first),
        cut(words.sentences, share + 2 * model.window, first),
        cut(words.documents, share, model.window + first),
        cut(drawn.reach, share, first),
        noise_of(model, drawn.noise[number], first, share),
    )


def _gather(update: TableRows, axis_name: str) -> TableRows:
    arrays = (update.indices, update.rows, update.curvatures)
    return TableRows(update.table, *jax.lax.all_gather(arrays, axis_name, tiled=True))


def _limit(update: TableRows, size: int, rate: jax.Array) -> jax.Array:
    """The rate of each row, ``[n]``: lower where the sum of a row's steps would overshoot.

    The sum of the curvatures of a row's steps bounds that of the loss in any direction, so that a rate of one
    divided by it goes no further than the minimum. Curvatures are added up in as many buckets as a core's
    cache holds, not in one a row: what comes often shares its bucket with words that are seldom in the same
    batch.
    """
    buckets = min(size, _BUCKETS)
    place = update.indices % buckets
    sums = jnp.zeros(buckets).at[place].add(update.curvatures, mode="promise_in_bounds")
    return rate / jnp.maximum(rate * sums.at[place].get(mode="promise_in_bounds"), 1.0)
