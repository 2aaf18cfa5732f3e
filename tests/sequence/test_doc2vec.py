"""Vectors of documents that training has not seen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.sequence import Word2Vec, infer_documents, train_chunk, word_corpus

RNG = np.random.default_rng(5)
LENGTH = 12


def _documents(number):
    """Documents about words 0 to 4 or about 5 to 9."""
    topic = RNG.integers(0, 2, number)
    tokens = RNG.integers(0, 5, (number, LENGTH)) + 5 * topic[:, None]
    return tokens.astype(np.int32).ravel(), np.repeat(np.arange(number, dtype=np.int32), LENGTH), topic


def _corpus(model, tokens, owners):
    return word_corpus(model, tokens, owners, owners, np.ones(10), chunk_size=4096, subsample=None)


def _unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "combine"), [("pv_dbow", "mean"), ("pv_dm", "mean"), ("pv_dm", "concatenate")]
)
def test_a_new_document_lies_with_those_of_its_topic(kind, combine):
    tokens, owners, topic = _documents(300)
    model = Word2Vec(10, kind, features=8, window=1, num_documents=300, batch_size=128, combine=combine)
    corpus = _corpus(model, tokens, owners)
    step = jax.jit(
        lambda tables, key: (
            train_chunk(
                model, tables, corpus, jnp.int32(0), key, jnp.float32(0.05), chunk_size=corpus.chunk_size
            ).tables
        )
    )
    tables = model.init(jax.random.key(0))
    for key in jax.random.split(jax.random.key(1), 60):
        tables = step(tables, key)
    new_tokens, new_owners, new_topic = _documents(20)
    # Document 20 has no word.
    new = Word2Vec(10, kind, features=8, window=1, num_documents=21, batch_size=128, combine=combine)
    trained = {name: np.asarray(table) for name, table in tables.items() if name != "documents"}
    found = infer_documents(new, trained, _corpus(new, new_tokens, new_owners), epochs=40, learning_rate=0.1)
    assert found.shape == (21, 8) and found.dtype == np.float32
    similar = _unit(found[:20]) @ _unit(np.asarray(tables["documents"])).T
    same = new_topic[:, None] == topic
    assert similar[same].mean() - similar[~same].mean() > 0.2
    again = infer_documents(new, trained, _corpus(new, new_tokens, new_owners), epochs=40, learning_rate=0.1)
    np.testing.assert_array_equal(found, again)
    bound = 0.5 / 8
    assert np.abs(found[20]).max() <= bound < np.abs(found[:20]).max()


def test_what_has_no_documents_or_other_tables_is_refused():
    tokens, owners, _ = _documents(3)
    words = Word2Vec(10, features=4)
    with pytest.raises(ValueError, match="skipgram has no vectors of documents; train pv_dm or pv_dbow"):
        infer_documents(words, {}, _corpus(words, tokens, owners))
    model = Word2Vec(10, "pv_dbow", features=4, num_documents=3)
    corpus = _corpus(model, tokens, owners)
    with pytest.raises(ValueError, match=r"expected output of \[10, 4\], got None"):
        infer_documents(model, {}, corpus)
    with pytest.raises(ValueError, match=r"expected output of \[10, 4\], got \[10, 5\]; give those of the"):
        infer_documents(model, {"output": jnp.zeros((10, 5))}, corpus)
