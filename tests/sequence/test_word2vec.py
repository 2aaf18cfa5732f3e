"""One batch against plain numpy, whole chunks, devices, and what is learned."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.word2vec_numpy import batch_step, huffman_ways

from jaxvision.ops import alias_table
from jaxvision.sequence import Word2Vec, train_chunk, train_sequences, word_corpus
from jaxvision.sequence.word_batches import noise_of

KINDS = ("skipgram", "cbow", "pv_dm", "pv_dbow")
RNG = np.random.default_rng(1)
TOKENS = RNG.integers(0, 7, 12).astype(np.int32)
SENTENCES = np.array([0, 0, 0, 0, 0, 1, 2, 2, 2, 2, 5, 5], np.int32)
DOCUMENTS = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 3, 3], np.int32)
COUNTS = np.array([9, 3, 4, 1, 6, 2, 5])


def _corpus(model):
    return word_corpus(model, TOKENS, SENTENCES, DOCUMENTS, COUNTS, chunk_size=12, subsample=None)


def _tables(model, key=0):
    """Random ones: the outputs start at zero, which would hide half of the equations."""
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    keys = dict(zip(shapes, jax.random.split(jax.random.key(key), len(shapes)), strict=True))
    return {name: jax.random.normal(keys[name], shape.shape) for name, shape in shapes.items()}


def _train(model, tables, corpus, *, rate=0.1, chunk=0, key=0, **options):
    def run(tables, corpus, chunk, key, rate):
        return train_chunk(
            model,
            tables,
            corpus,
            chunk,
            key,
            rate,
            chunk_size=corpus.tokens.shape[0] - len(TOKENS),
            **options,
        )

    return jax.jit(run)(tables, corpus, jnp.int32(chunk), jax.random.key(key), jnp.float32(rate))


@pytest.mark.parametrize(
    ("kind", "loss", "window", "combine"),
    [
        ("skipgram", "negative", 3, "mean"),
        ("skipgram", "hierarchical", 1, "mean"),
        ("cbow", "negative", 1, "mean"),
        ("cbow", "hierarchical", 3, "mean"),
        ("pv_dm", "negative", 3, "mean"),
        ("pv_dm", "hierarchical", 1, "mean"),
        ("pv_dm", "negative", 2, "concatenate"),
        ("pv_dm", "hierarchical", 2, "concatenate"),
        ("pv_dbow", "negative", 1, "mean"),
        ("pv_dbow", "hierarchical", 1, "mean"),
    ],
)
def test_one_batch_is_the_step_of_the_papers(kind, loss, window, combine, monkeypatch):
    """The rate is so low that no row is limited; the oracle need not know the draw of the noise words."""
    model = Word2Vec(
        7,
        kind,
        loss,
        features=5,
        window=window,
        shrink=False,
        batch_size=16,
        shared_negatives=3,
        num_documents=4,
        combine=combine,
    )
    monkeypatch.setattr("jaxvision.sequence.word2vec.sample_alias", lambda *_: jnp.array([[2, 0, 4]]))
    tables, rate = _tables(model), 2e-3
    found = _train(model, tables, _corpus(model), rate=rate)
    expected, total, pairs = batch_step(
        kind,
        tables,
        TOKENS,
        SENTENCES,
        DOCUMENTS,
        np.full(12, window),
        rate,
        noise=(2, 0, 4),
        weight=5 / 3,
        ways=huffman_ways(COUNTS) if loss == "hierarchical" else None,
        combine=combine,
    )
    assert set(found.tables) == set(expected) and float(found.pairs) == pairs and bool(found.finite)
    assert float(found.loss) == pytest.approx(total, rel=1e-5)
    for name, table in expected.items():
        steps, exact = (
            (np.asarray(x, np.float64) - tables[name]) / rate for x in (found.tables[name], table)
        )
        # A table's own rounding, 1e-7 of numbers up to 3, is 1.5e-4 of a step.
        np.testing.assert_allclose(steps, exact, rtol=1e-4, atol=4e-4, err_msg=name)
        assert np.abs(exact).max() > 0.5


def test_each_block_has_noise_of_its_own_on_any_number_of_devices():
    model = Word2Vec(7, window=2, batch_size=64, shared_negatives=3)
    assert (model.block_size, model.num_noise) == (32, 4), "two words for each of two blocks"
    noise = jnp.array([2, 0, 4, 1])
    assert noise_of(model, noise, 0, 64).tolist() == [[2, 0], [4, 1]]
    for devices, blocks in ((2, [[[2, 0]], [[4, 1]]]), (4, [[[2, 0]], [[2, 0]], [[4, 1]], [[4, 1]]])):
        share = 64 // devices
        found = [noise_of(model, noise, device * share, share).tolist() for device in range(devices)]
        assert found == blocks


def test_a_rate_that_would_overshoot_is_shortened_to_the_parabolas_minimum():
    """Two words that are each other's neighbour, one inner node: each input's loss is -log sigmoid(s h v)."""
    model = Word2Vec(2, loss="hierarchical", features=3, window=1, batch_size=2)
    corpus = word_corpus(
        model,
        np.array([0, 1], np.int32),
        np.zeros(2, np.int32),
        np.zeros(2, np.int32),
        np.array([1, 2]),
        chunk_size=2,
        subsample=None,
    )
    node = np.array([0.3, -0.4, 1.2])
    inputs = np.array([[0.5, 0.1, 0.2], [-0.3, 0.2, 0.4]])
    tables = {"input": jnp.asarray(inputs, jnp.float32), "output": jnp.asarray(node[None], jnp.float32)}
    found = jax.jit(
        lambda tables, corpus: train_chunk(
            model, tables, corpus, jnp.int32(0), jax.random.key(0), jnp.float32(1e6), chunk_size=2
        )
    )(tables, corpus)
    # Word 0 is the rarer: its way has sign 1, and it is the target where word 1 is the input.
    for word, sign in ((0, -1.0), (1, 1.0)):
        probability = 1 / (1 + np.exp(-sign * inputs[word] @ node))
        score = sign * inputs[word] @ node
        step = (1 - probability) * sign * node / (np.tanh(score / 2) / (2 * score) * (node @ node))
        np.testing.assert_allclose(found.tables["input"][word] - inputs[word], step, rtol=1e-4)


def test_sequences_are_learned_as_a_text_of_as_many_sentences():
    """Rows are sentences; masked places are left out as if they had not been there."""
    model = Word2Vec(7, features=5, window=2, shrink=False, batch_size=4, shared_negatives=7)
    rows = np.array([[0, 1, 2, 3], [4, 5, 6, 0], [1, 1, 1, 1]], np.int32)
    where = np.array([[1, 1, 1, 1], [1, 0, 1, 1], [0, 0, 0, 0]], bool)
    noise = alias_table(np.ones(7))
    run = jax.jit(
        lambda tables, rows, where, rate: train_sequences(
            model, tables, rows, jax.random.key(0), rate, noise=noise, where=where
        )
    )
    tables = _tables(model)
    found = run(tables, rows, where, jnp.float32(0))
    # 4 words have 3 + 2 pairs to either side, 3 words have 2 + 1.
    assert float(found.pairs) == 2 * (3 + 2) + 2 * (2 + 1)
    changed = run(tables, rows, where, jnp.float32(0.01))
    inputs = np.asarray(changed.tables["input"] != tables["input"]).any(axis=1)
    assert inputs.tolist() == [True, True, True, True, True, False, True], "5 is masked"
    assert run._cache_size() == 1
    text, owners = rows[where], np.repeat(np.arange(3, dtype=np.int32), where.sum(axis=1))
    corpus = word_corpus(model, text, owners, owners, np.ones(7), chunk_size=len(text), subsample=None)
    same = jax.jit(
        lambda key: train_chunk(
            model, tables, corpus, jnp.int32(0), key, jnp.float32(0), chunk_size=len(text)
        )
    )(jax.random.key(0))
    assert float(same.pairs) == float(found.pairs)
    empty = train_sequences(
        model, tables, jnp.zeros((0, 4), jnp.int32), jax.random.key(0), jnp.float32(0.1), noise=noise
    )
    assert float(empty.pairs) == 0 and np.array_equal(empty.tables["input"], tables["input"])
    for wrong, message in (
        ({"sequences": jnp.zeros(4, jnp.int32)}, r"sequences: expected \[S, L\]"),
        ({"sequences": jnp.zeros((2, 4))}, "sequences"),
        ({"where": jnp.ones((1, 4), bool)}, r"where: expected \[2, 4\]"),
    ):
        given = {"sequences": jnp.zeros((2, 4), jnp.int32), "where": None, **wrong}
        with pytest.raises((ValueError, TypeError), match=message):
            train_sequences(
                model,
                tables,
                given["sequences"],
                jax.random.key(0),
                jnp.float32(0.1),
                noise=noise,
                where=given["where"],
            )


def test_windows_shrink_by_chance_and_words_are_dropped():
    """The drawn windows and words are looked at from outside: the pairs tell them."""
    model = Word2Vec(7, features=2, window=3, batch_size=4)
    six = np.arange(6, dtype=np.int32)
    corpus = word_corpus(model, six, 0 * six, 0 * six, COUNTS, chunk_size=6, subsample=0.1)
    run = jax.jit(
        lambda key, corpus: (
            train_chunk(model, model.init(key), corpus, jnp.int32(0), key, jnp.float32(0), chunk_size=6).pairs
        )
    )
    pairs = np.array([run(jax.random.key(seed), corpus) for seed in range(60)])
    # Six words with windows of reach 1, 2, 3 have 10, 18, 24 pairs.
    assert len(set(pairs)) > 5 and pairs.max() <= 24
    kept = corpus._replace(keep=jnp.ones(7))
    whole = [float(run(key, kept)) for key in jax.random.split(jax.random.key(0), 60)]
    assert min(whole) >= 10 and max(whole) <= 24 and np.mean(whole) == pytest.approx(52 / 3, abs=2)


@pytest.mark.parametrize("kind", ["skipgram", "pv_dm"])
def test_the_loop_over_batches_visits_each_word_once(kind):
    """Batches of any size, with rate 0, have the same pairs and the loss of the start."""
    losses = {}
    for batch_size in (3, 64):
        model = Word2Vec(
            7,
            kind,
            "hierarchical",
            features=5,
            window=2,
            shrink=False,
            batch_size=batch_size,
            num_documents=4,
        )
        tables = _tables(model)
        found = _train(model, tables, _corpus(model), rate=0.0)
        losses[batch_size] = (float(found.loss), float(found.pairs))
        assert all(np.array_equal(found.tables[name], tables[name]) for name in tables)
    first = losses.pop(3)
    assert first[1] > 0 and all(np.allclose(value, first, rtol=1e-5) for value in losses.values())


def test_only_the_tables_asked_for_change():
    model = Word2Vec(7, "pv_dm", features=5, num_documents=4, batch_size=4)
    tables = _tables(model)
    found = _train(model, tables, _corpus(model), trained=("documents",)).tables
    assert {n for n in tables if not np.array_equal(tables[n], found[n])} == {"documents"}
    assert np.array_equal(found["documents"][2], tables["documents"][2]), "a document without a word"


def test_a_batch_that_is_not_finite_changes_nothing_and_is_told():
    model = Word2Vec(7, features=5, batch_size=4)
    tables = _tables(model)
    tables["input"] = tables["input"].at[int(TOKENS[0])].set(jnp.nan)
    found = _train(model, tables, _corpus(model))
    assert not bool(found.finite)
    untouched = [word for word in range(7) if word != TOKENS[0]]
    assert bool(jnp.isfinite(found.tables["input"][jnp.array(untouched)]).all())
    assert bool(jnp.isfinite(found.tables["output"]).all())


def test_a_second_chunk_does_not_trace_again():
    model = Word2Vec(7, features=5, batch_size=4)
    corpus = word_corpus(model, TOKENS, SENTENCES, DOCUMENTS, COUNTS, chunk_size=6)
    assert len(corpus.starts) > 1
    step = jax.jit(
        lambda tables, corpus, chunk, key: train_chunk(
            model, tables, corpus, chunk, key, jnp.float32(0.1), chunk_size=corpus.tokens.shape[0] - 12
        )
    )
    for chunk in range(len(corpus.starts)):
        step(_tables(model), corpus, np.int32(chunk), jax.random.key(chunk))
    assert step._cache_size() == 1


def _two_topics(sentences=400, length=12, *, filled=False):
    """Words 0 to 4 come with each other, and so do 5 to 9; or every other word is one of 10 to 14."""
    topic = RNG.integers(0, 2, sentences)
    tokens = (RNG.integers(0, 5, (sentences, length)) + 5 * topic[:, None]).astype(np.int32)
    if filled:
        tokens[:, ::2] = RNG.integers(10, 15, tokens[:, ::2].shape)
    owners = np.repeat(np.arange(sentences, dtype=np.int32), length)
    return tokens.ravel(), owners, topic


def _similarities(vectors):
    unit = np.asarray(vectors) / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit @ unit.T


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", ["negative", "hierarchical"])
def test_two_topics_separate(kind, loss):
    """Ten words are the hardest case for summed steps: each comes 25 times in a batch of 256."""
    # PV-DM needs documents only where the words around do not tell the topic.
    tokens, owners, topic = _two_topics(filled=kind == "pv_dm")
    size, window = (15, 1) if kind == "pv_dm" else (10, 5)
    batch = 16 if (kind, loss) in (("skipgram", "negative"), ("cbow", "negative")) else 256
    model = Word2Vec(size, kind, loss, features=16, window=window, num_documents=400, batch_size=batch)
    corpus = word_corpus(
        model, tokens, owners, owners, np.bincount(tokens), chunk_size=len(tokens), subsample=None
    )
    step = jax.jit(
        lambda tables, key: train_chunk(
            model, tables, corpus, jnp.int32(0), key, jnp.float32(0.025), chunk_size=len(tokens)
        )
    )
    tables, losses = model.init(jax.random.key(3)), []
    for key in jax.random.split(jax.random.key(4), 12 if kind in ("skipgram", "cbow") else 40):
        found = step(tables, key)
        tables = found.tables
        losses.append(float(found.loss / found.pairs))
    assert losses[-1] < 0.95 * losses[0] and bool(found.finite), losses
    if kind in ("skipgram", "cbow"):
        similar = _similarities(tables["input"])
        inside = similar[:5, :5].mean() + similar[5:, 5:].mean()
        assert inside / 2 - similar[:5, 5:].mean() > 0.5
        assert np.abs(tables["input"]).max() < 20
    else:
        similar = _similarities(tables["documents"])
        same = topic[:, None] == topic
        assert similar[same].mean() - similar[~same].mean() > 0.2


def test_a_basket_is_learned_whole_whatever_its_order():
    """With a window as long as the basket every pair counts, and shuffling changes the drawn order alone."""
    tokens = np.array([0, 1, 2, 3, 4, 5, 6], np.int32)
    owners = np.array([0, 0, 0, 0, 1, 1, 1], np.int32)
    model = Word2Vec(7, features=3, window=3, shrink=False, shuffle=True, batch_size=8)
    corpus = word_corpus(model, tokens, owners, owners, np.ones(7), chunk_size=7, subsample=None)
    run = jax.jit(
        lambda key: (
            train_chunk(
                model, model.init(key), corpus, jnp.int32(0), key, jnp.float32(0.1), chunk_size=7
            ).pairs
        )
    )
    pairs = [float(run(key)) for key in jax.random.split(jax.random.key(0), 5)]
    assert pairs == [4 * 3 + 3 * 2] * 5
    near = Word2Vec(7, features=3, window=1, shrink=False, shuffle=True, batch_size=8)
    run = jax.jit(
        lambda key: train_chunk(
            near, _tables(near), corpus, jnp.int32(0), key, jnp.float32(0.1), chunk_size=7
        ).tables["output"][:4]
    )
    changed = [np.asarray(run(key)).tobytes() for key in jax.random.split(jax.random.key(0), 5)]
    assert len(set(changed)) > 1, "which of the basket's items are neighbours is drawn anew"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "glove"}, "kind: expected one of skipgram, cbow, pv_dm, pv_dbow, got 'glove'"),
        ({"loss": "full"}, "loss: expected one of negative, hierarchical, got 'full'"),
        ({"window": 0}, "window: got 0, expected 1 or more"),
        ({"features": 0}, "features: got 0"),
        ({"negatives": 0}, "negatives: got 0"),
        ({"kind": "pv_dm"}, "num_documents: got 0, expected 1 or more for pv_dm"),
        ({"combine": "sum"}, "combine: expected one of mean, concatenate, got .sum."),
        ({"combine": "concatenate"}, "combine: only pv_dm can concatenate its inputs, got skipgram"),
        ({"vocabulary_size": 1}, "vocabulary_size: got 1, expected 2 or more"),
    ],
)
def test_options_out_of_range_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Word2Vec(**{"vocabulary_size": 5, **options})


def test_a_corpus_without_a_tree_is_refused():
    model = Word2Vec(7, loss="hierarchical")
    with pytest.raises(ValueError, match="there is no Huffman tree"):
        _train(model, model.init(jax.random.key(0)), _corpus(Word2Vec(7)))


@pytest.mark.parametrize(("kind", "loss"), [("skipgram", "negative"), ("pv_dm", "hierarchical")])
def test_devices_share_a_batch(kind, loss):
    """vmap with an axis name runs the program of four devices on one: each ends with the tables of one."""
    model = Word2Vec(7, kind, loss, features=5, window=2, batch_size=8, num_documents=4)
    corpus, tables = _corpus(model), _tables(model)

    def train(tables):
        return train_chunk(
            model,
            tables,
            corpus,
            jnp.int32(0),
            jax.random.key(0),
            jnp.float32(0.1),
            chunk_size=12,
            axis_name="data",
        )

    one = _train(model, tables, corpus)
    four = jax.jit(jax.vmap(train, axis_name="data", axis_size=4, in_axes=None))(tables)
    assert float(four.loss[0]) == pytest.approx(float(one.loss), rel=1e-5)
    for name, table in one.tables.items():
        for device in range(4):
            np.testing.assert_allclose(four.tables[name][device], table, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="batch_size: 8 words cannot be shared by 3 devices"):
        jax.vmap(train, axis_name="data", axis_size=3, in_axes=None)(tables)
