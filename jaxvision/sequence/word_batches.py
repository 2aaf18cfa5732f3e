"""A batch of words: its loss, and the rows to add to the tables that it touches.

Where the input is the mean of several vectors (CBOW, PV-DM), each of them takes the mean's whole step, as in
the authors' program and in gensim. The gradient of the loss would be that divided by their number: the same
direction, at a rate for the inputs that is lower by that factor. Of a concatenation, each part takes its own
gradient.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.sequence.huffman import HuffmanTree
from jaxvision.sequence.word_corpus import NOWHERE, window_pairs
from jaxvision.sequence.word_model import Word2Vec
from jaxvision.sequence.word_objectives import (
    Descent,
    Rows,
    hidden_negative,
    hierarchical,
    skipgram_negative,
)

__all__ = ["TableRows", "WordBatch", "descend", "noise_of"]

Tables = dict[str, jax.Array]

# With a tree, each target has some twenty vectors.
_TREE_BLOCK = 2


class WordBatch(NamedTuple):
    """This device's n targets, and the words around them: W before the first and W behind the last.

    Attributes:
      tokens: int32 ``[n + 2 W]``.
      sentences: int32 ``[n + 2 W]``.
      documents: int32 ``[n]``.
      reach: int32 ``[n]``, of the targets' windows.
      noise: int32 ``[G, K]``, of each block of targets.
    """

    tokens: jax.Array
    sentences: jax.Array
    documents: jax.Array
    reach: jax.Array
    noise: jax.Array


class TableRows(NamedTuple):
    """Rows to add to a table, once each is multiplied with the learning rate.

    Attributes:
      table: its name.
      indices: int32 ``[n]``.
      rows: float32 ``[n, D]``.
      curvatures: float32 ``[n]``, as in :class:`jaxvision.sequence.Rows`.
    """

    table: str
    indices: jax.Array
    rows: jax.Array
    curvatures: jax.Array


class _Hidden(NamedTuple):
    """The one input of each target, and who takes its steps.

    Attributes:
      vectors: ``[n, H]``.
      where: float32 ``[n]``, 1 for a target that is learned, else 0.
      spread: steps of the vectors -> rows of the tables that they came from.
    """

    vectors: jax.Array
    where: jax.Array
    spread: Callable[[Rows], list[TableRows]]


def descend(
    model: Word2Vec, tables: Tables, batch: WordBatch, tree: HuffmanTree | None
) -> tuple[jax.Array, jax.Array, list[TableRows]]:
    """Loss, number of pairs and rows of a batch, all at the tables as they are.

    Args:
      model: what is learned.
      tables: as of :meth:`jaxvision.sequence.Word2Vec.init`.
      batch: the words.
      tree: of the hierarchical softmax; None for negative sampling.
    """
    if model.kind == "skipgram":
        return _skipgram(model, tables, batch, tree)
    mix = {"mean": _mean, "concatenate": _concatenation}[model.combine]
    hidden = mix(model, tables, batch)
    found, outputs = _learn_hidden(model, tables, hidden, batch, tree)
    size = len(hidden.where)
    step = Rows(found.inputs.steps.reshape(size, -1), found.inputs.curvatures.reshape(size))
    return found.loss, hidden.where.sum(), [outputs, *hidden.spread(step)]


def noise_of(model: Word2Vec, noise: jax.Array, first: jax.Array | int, share: int) -> jax.Array:
    """The noise words of each block of a device's ``share`` targets from ``first`` on, ``[G, K]``.

    Devices that share a block each have its whole noise, so that their number makes no difference.
    """
    block = model.block_size
    starts = first + jnp.arange(0, share, math.gcd(share, block))
    return noise.reshape(model.batch_size // block, -1)[starts // block]


def _skipgram(
    model: Word2Vec, tables: Tables, batch: WordBatch, tree: HuffmanTree | None
) -> tuple[jax.Array, jax.Array, list[TableRows]]:
    """Every pair of a word and one of its window by itself.

    Which of both is the input makes no difference over a text, up to the chance of the windows' reach. Here
    it is the word that needs fewer rows of the table of outputs: with noise, the middle of the window, for
    the noise is there for each input; with a tree, a word of the window, for a target is a whole way of
    nodes.
    """
    around, pairs = _windows(model, batch)  # [G, J], [G, I, J]
    middle = _targets(model, batch).reshape(pairs.shape[:2])  # [G, I]
    if model.loss == "negative":
        found = skipgram_negative(
            _rows(tables["input"], middle),
            _rows(tables["output"], around),
            _rows(tables["output"], batch.noise),
            pairs=pairs,
            negatives=_unlike(around, batch.noise, model),
        )
        inputs, outputs = _update("input", middle, found.inputs), _word_outputs(found, around, batch)
    else:
        found, outputs = _descend_tree(tables, _rows(tables["input"], around), middle, pairs, tree)
        inputs = _update("input", around, found.inputs)
    return found.loss, pairs.sum(), [inputs, outputs]


def _mean(model: Word2Vec, tables: Tables, batch: WordBatch) -> _Hidden:
    """The mean of a window's words, of these and the document, or the document alone."""
    real = _is_word(model, batch)
    size = len(real)
    total, count = jnp.zeros((size, model.features)), jnp.zeros(size)
    if model.kind != "pv_dbow":
        around, pairs = _windows(model, batch)  # [G, J], [G, I, J]
        total = jnp.einsum("gij,gjd->gid", pairs, _rows(tables["input"], around)).reshape(size, -1)
        count = pairs.sum(axis=2).reshape(-1)
    if model.has_documents:
        total += _rows(tables["documents"], _documents(model, batch))
        count += 1.0

    def spread(step: Rows) -> list[TableRows]:
        updates = []
        if model.kind != "pv_dbow":
            steps = step.steps.reshape(*pairs.shape[:2], -1)  # [G, I, D]
            curvatures = step.curvatures.reshape(pairs.shape[:2])
            parts = Rows(
                jnp.einsum("gij,gid->gjd", pairs, steps), jnp.einsum("gij,gi->gj", pairs, curvatures)
            )
            updates.append(_update("input", around, parts))
        if model.has_documents:
            updates.append(_update("documents", _documents(model, batch), step))
        return updates

    where = (real & (count > 0)).astype(jnp.float32)
    return _Hidden(total / jnp.maximum(count, 1.0)[:, None], where, spread)


def _concatenation(model: Word2Vec, tables: Tables, batch: WordBatch) -> _Hidden:
    """The document, then the words at the places before and behind the target; zeros beyond the sentence."""
    real, window = _is_word(model, batch), model.window
    size = len(real)
    starts = [window + distance for distance in range(-window, window + 1) if distance]
    own = batch.sentences[window:-window]
    inside = [(batch.sentences[start : start + size] == own) & real for start in starts]
    words = _rows(tables["input"], batch.tokens)  # [n + 2 W, D]
    parts = [
        jnp.where(near[:, None], words[start : start + size], 0.0)
        for start, near in zip(starts, inside, strict=True)
    ]
    vectors = jnp.concatenate([_rows(tables["documents"], _documents(model, batch)), *parts], axis=1)

    def spread(step: Rows) -> list[TableRows]:
        document, *pieces = jnp.split(step.steps, 1 + 2 * window, axis=1)  # each [n, D]
        steps, curvatures = jnp.zeros_like(words), jnp.zeros(len(words))
        for start, near, piece in zip(starts, inside, pieces, strict=True):
            steps = steps.at[start : start + size].add(jnp.where(near[:, None], piece, 0.0))
            curvatures = curvatures.at[start : start + size].add(jnp.where(near, step.curvatures, 0.0))
        return [
            _update("input", batch.tokens, Rows(steps, curvatures)),
            _update("documents", _documents(model, batch), Rows(document, step.curvatures)),
        ]

    return _Hidden(vectors, real.astype(jnp.float32), spread)


def _learn_hidden(
    model: Word2Vec, tables: Tables, hidden: _Hidden, batch: WordBatch, tree: HuffmanTree | None
) -> tuple[Descent, TableRows]:
    """The loss of one input a target, and the rows of the outputs."""
    targets = _targets(model, batch)
    if model.loss == "hierarchical":
        pairs = hidden.where[:, None, None]  # [n, 1, 1]
        return _descend_tree(tables, hidden.vectors[:, None], targets[:, None], pairs, tree)
    blocks = (len(batch.noise), -1)
    targets = targets.reshape(blocks)  # [G, I]
    found = hidden_negative(
        hidden.vectors.reshape(*targets.shape, -1),
        _rows(tables["output"], targets),
        _rows(tables["output"], batch.noise),
        where=hidden.where.reshape(targets.shape),
        negatives=_unlike(targets, batch.noise, model),
    )
    return found, _word_outputs(found, targets, batch)


def _descend_tree(
    tables: Tables, inputs: jax.Array, targets: jax.Array, pairs: jax.Array, tree: HuffmanTree | None
) -> tuple[Descent, TableRows]:
    """The hierarchical softmax of inputs ``[G, J, D]``, targets ``[G, I]``; and the nodes' rows."""
    assert tree is not None
    nodes, signs = tree.nodes[targets], tree.signs[targets]  # [G, I, L]
    found = hierarchical(inputs, _rows(tables["output"], nodes), signs, pairs=pairs)
    return found, _update("output", nodes, found.targets)


def _blocks(model: Word2Vec, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Cuts a batch into blocks of I targets with the J = I + 2 W words around each.

    Returns:
      Places in the batch, int ``[G, J]``, and distances of the words from the targets, ``[1, I, J]``.
    """
    block = math.gcd(size, model.block_size if model.loss == "negative" else _TREE_BLOCK)
    around = np.arange(block + 2 * model.window)
    places = np.arange(0, size, block)[:, None] + around
    return places, (around - model.window - np.arange(block)[:, None])[None]


def _windows(model: Word2Vec, batch: WordBatch) -> tuple[jax.Array, jax.Array]:
    """The words around each block's targets, int32 ``[G, J]``, and the pairs, ``[G, I, J]``."""
    sentences = batch.sentences[model.window : -model.window]
    places, distance = _blocks(model, len(sentences))
    shape = (len(places), -1)
    pairs = window_pairs(
        batch.sentences[places][:, None, :],
        batch.reach.reshape(shape),
        distance,
        centre=sentences.reshape(shape),
    )
    return batch.tokens[places], pairs


def _unlike(tokens: jax.Array, noise: jax.Array, model: Word2Vec) -> jax.Array:
    """Weight of each noise word beside each target, ``[..., K]``: none where it is the target."""
    other = tokens[..., None] != noise[..., None, :]
    return other.astype(jnp.float32) * (model.negatives / noise.shape[-1])


def _targets(model: Word2Vec, batch: WordBatch) -> jax.Array:
    return batch.tokens[model.window : -model.window]


def _is_word(model: Word2Vec, batch: WordBatch) -> jax.Array:
    return batch.sentences[model.window : -model.window] != NOWHERE


def _documents(model: Word2Vec, batch: WordBatch) -> jax.Array:
    return jnp.minimum(batch.documents, model.num_documents - 1)  # behind the last word: any


def _word_outputs(found: Descent, targets: jax.Array, batch: WordBatch) -> TableRows:
    """The targets' rows and the noise words' rows: one table, one update."""
    assert found.noise is not None
    words, noise = _update("output", targets, found.targets), _update("output", batch.noise, found.noise)
    return TableRows("output", *(jnp.concatenate(both) for both in zip(words[1:], noise[1:], strict=True)))


def _rows(table: jax.Array, indices: jax.Array) -> jax.Array:
    return table.at[indices].get(mode="promise_in_bounds")


def _update(table: str, indices: jax.Array, rows: Rows) -> TableRows:
    """An update of flat lists of rows."""
    steps, curvatures = rows
    return TableRows(table, indices.reshape(-1), steps.reshape(-1, steps.shape[-1]), curvatures.reshape(-1))
