import jax
import numpy as np
import optax
import pytest

from jaxvision.sequence import Word2Vec, train_chunk, word_corpus
from jaxvision.tasks import ChunkBatches, compile_word_step, word_task
from jaxvision.tasks.word_training import mean_loss
from jaxvision.training import create_train_state, make_placement

MODEL = Word2Vec(6, features=4, window=2, batch_size=8)
TOKENS = np.random.default_rng(0).integers(0, 6, 40).astype(np.int32)
OWNERS = np.repeat(np.arange(8, dtype=np.int32), 5)


def _corpus(chunk_size=20):
    counts = np.bincount(TOKENS)
    return word_corpus(MODEL, TOKENS, OWNERS, OWNERS, counts, chunk_size=chunk_size, subsample=None)


def test_chunks_come_once_an_epoch_and_the_position_can_be_saved():
    batches = ChunkBatches(5, seed=3, copies=2)
    first = [next(batches)["chunk"] for _ in range(5)]
    assert all(chunk.shape == (2,) and chunk.dtype == np.int32 for chunk in first)
    assert sorted(int(chunk[0]) for chunk in first) == list(range(5))
    state = batches.get_state()
    rest = [int(next(batches)["chunk"][0]) for _ in range(10)]
    assert sorted(rest[:5]) == list(range(5)) and rest[:5] != rest[5:]
    again = ChunkBatches(5, seed=3, copies=1)
    again.set_state(state)
    assert [int(next(again)["chunk"][0]) for _ in range(10)] == rest
    others = ({"num_chunks": 6}, {"seed": 4}, {"checksum": 1})
    for other in (ChunkBatches(**{"num_chunks": 5, "seed": 3, "copies": 1, **more}) for more in others):
        with pytest.raises(ValueError, match="the position belongs to other chunks"):
            other.set_state(state)


def test_a_step_is_a_chunk_at_the_rate_of_the_schedule():
    corpus, placement = _corpus(), make_placement("jit", devices=jax.devices()[:1])
    state = create_train_state(word_task(MODEL, corpus), optax.identity(), seed=1)
    before, key = jax.device_get(state.params), jax.random.wrap_key_data(np.asarray(state.key))
    step = compile_word_step(MODEL, corpus, placement, lambda step: 0.5 / (1.0 + step))
    state = placement.place(state)
    for number in range(2):
        found, metrics = step(state, placement.shard({"chunk": np.array([1 - number], np.int32)}))
        expected = train_chunk(
            MODEL,
            before,
            corpus,
            np.int32(1 - number),
            jax.random.fold_in(key, number),
            np.float32(0.5 / (1 + number)),
            chunk_size=corpus.chunk_size,
        )
        for name, table in expected.tables.items():
            np.testing.assert_allclose(found.params[name], table, rtol=1e-5, atol=1e-6)
        assert int(found.step) == number + 1 and bool(metrics["finite"])
        assert float(metrics["loss"]) == pytest.approx(float(expected.loss / expected.pairs), rel=1e-5)
        state, before = found, jax.device_get(found.params)


def test_tables_are_not_split():
    placement = make_placement("fsdp", devices=jax.devices()[:1])
    with pytest.raises(ValueError, match="parallel fsdp: every device learns in the whole tables"):
        compile_word_step(MODEL, _corpus(), placement, lambda step: 0.5)


def test_a_step_that_is_not_finite_is_not_said_to_change_nothing():
    placement = make_placement("jit", devices=jax.devices()[:1])
    assert not compile_word_step(MODEL, _corpus(), placement, lambda step: 0.5).keeps_state


def test_the_task_tells_the_loss_of_a_chunks_first_batch():
    corpus = _corpus()
    task = word_task(MODEL, corpus)
    variables = task.init(jax.random.key(0))
    batch = {"chunk": np.array([0], np.int32)}
    terms, _ = jax.jit(task.loss)(variables["params"], {}, batch, jax.random.key(1))
    # The outputs start at zero: each pair costs log 2 for its target, and for each of five noise words
    # that is not the target itself.
    assert 1 <= float(terms["loss"].mean()) / np.log(2) <= 6
    gradients = jax.jit(
        jax.grad(lambda params: task.loss(params, {}, batch, jax.random.key(1))[0]["loss"][0])
    )(variables["params"])
    assert np.abs(gradients["output"]).sum() > 0 and not np.asarray(gradients["input"]).any()
    assert task.predict(variables, np.array([2])).shape == (1, 4)
    loss = mean_loss(MODEL, variables["params"], corpus)
    assert 1 <= loss / np.log(2) <= 6
