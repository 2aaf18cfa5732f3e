"""Vectors of documents that a paragraph-vector model has not seen."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.sequence.word2vec import train_chunk
from jaxvision.sequence.word_corpus import WordCorpus
from jaxvision.sequence.word_model import Word2Vec

__all__ = ["infer_documents"]


def infer_documents(
    model: Word2Vec,
    tables: Mapping[str, jax.Array],
    corpus: WordCorpus,
    *,
    seed: int = 0,
    epochs: int = 20,
    learning_rate: float = 0.025,
) -> np.ndarray:
    """Learns vectors of new documents from their words, while words and outputs stay as they are.

    Args:
      model: ``pv_dm`` or ``pv_dbow``, as it was trained, with ``num_documents`` the number of the new ones.
      tables: the trained ``output``, and of ``pv_dm`` ``input``; ``documents`` are not looked at.
      corpus: the new documents, made with ``model`` and with the counts of the text that it was trained on. A
        document without a word keeps the vector that it starts from.
      seed: of the vectors to start from, of the noise words and of the windows.
      epochs: passes over the documents.
      learning_rate: of the first pass; it falls linearly to 0.

    Returns:
      float32 ``[M, D]``.

    Raises:
      ValueError: if the model has no documents, or a table is missing or of another shape.

    References:
      Le and Mikolov 2014, section 2.2: "the inference step".
    """
    if not model.has_documents:
        raise ValueError(f"model: {model.kind} has no vectors of documents; train pv_dm or pv_dbow")
    init_key, key = jax.random.split(jax.random.key(seed))
    shapes = jax.eval_shape(model.init, init_key)
    for name in shapes.keys() - {"documents"}:
        found = None if name not in tables else list(tables[name].shape)
        if found != list(shapes[name].shape):
            raise ValueError(
                f"tables: expected {name} of {list(shapes[name].shape)}, got {found}; give those of the "
                "trained model"
            )
    fresh = jax.jit(lambda key: model.init(key)["documents"])(init_key)
    fixed = {name: tables[name] for name in shapes if name != "documents"}
    chunk_size, chunks = corpus.chunk_size, len(corpus.starts)

    @jax.jit
    def infer(documents: jax.Array, fixed: Mapping[str, jax.Array], corpus: WordCorpus) -> jax.Array:
        def visit(step: jax.Array, documents: jax.Array) -> jax.Array:
            result = train_chunk(
                model,
                {**fixed, "documents": documents},
                corpus,
                step % chunks,
                jax.random.fold_in(key, step),
                learning_rate * (1.0 - step / (epochs * chunks)),
                chunk_size=chunk_size,
                trained=("documents",),
            )
            return result.tables["documents"]

        return jax.lax.fori_loop(0, epochs * chunks, visit, documents)

    return np.asarray(infer(jnp.asarray(fresh), fixed, corpus))
