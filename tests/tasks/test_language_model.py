"""The state between windows, perplexity, options and recipes of language models."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import log_softmax

from jaxvision.data import TextWindows
from jaxvision.optimizers import OptimizerOptions
from jaxvision.sequence import LanguageModel
from jaxvision.tasks import (
    EpochOptions,
    LanguageModelData,
    LanguageModelTrainer,
    TextBatches,
    language_model_scores,
    language_model_task,
    recipe_options,
)
from jaxvision.training import (
    RunOptions,
    TrainState,
    create_train_state,
    make_gradients,
    make_placement,
    make_train_step,
)

V = 9
TEXT = np.random.default_rng(0).integers(0, V, 83).astype(np.int32)


@pytest.fixture(scope="module")
def model():
    return LanguageModel(V, features=5, num_layers=1, init_scale=0.8)


@pytest.fixture(scope="module")
def variables(model):
    return jax.jit(language_model_task(model, batch_size=4).init)(jax.random.key(1))


def _windows(rows, window):
    return TextWindows(TEXT, batch_size=rows, window=window)


def test_windows_go_on_with_the_state_and_begin_anew_with_each_epoch(model, variables):
    task = language_model_task(model, batch_size=4)
    loss = jax.jit(lambda state, batch: task.loss(variables["params"], state, batch, jax.random.key(0)))
    windows = _windows(4, 5)  # 4 windows an epoch
    carry = jax.tree.map(lambda x: x + 7.0, variables["carry"])  # what an epoch before left
    state, totals = {"carry": carry}, []
    for batch in itertools.islice(windows, 8):
        terms, state = loss(state, batch)
        assert terms["cross_entropy"].weight == 20
        totals.append(float(terms["cross_entropy"].total))
    rows = np.stack([TEXT[row * 20 : row * 20 + 21] for row in range(4)])
    logits = model.apply({"params": variables["params"]}, jnp.asarray(rows[:, :-1]), train=False)[0]
    scores = -np.take_along_axis(log_softmax(np.asarray(logits), -1), rows[:, 1:, None], -1)[..., 0]
    wanted = scores.reshape(4, 4, 5).sum((0, 2))
    np.testing.assert_allclose(totals, [*wanted, *wanted], rtol=1e-5)


def test_the_gradient_ends_where_the_window_begins(model, variables):
    task = language_model_task(model, batch_size=4)
    batch = jax.device_put(next(_windows(4, 5)) | {"starts": np.zeros(4, bool)})

    def total(carry):
        return task.loss(variables["params"], {"carry": carry}, batch, jax.random.key(0))[0][
            "cross_entropy"
        ].total

    carry = jax.tree.map(lambda x: x + 0.5, variables["carry"])
    assert all((slope == 0).all() for slope in jax.tree.leaves(jax.jit(jax.grad(total))(carry)))
    assert float(total(carry)) != pytest.approx(float(total(variables["carry"])), rel=1e-4)


def test_a_step_that_is_not_finite_keeps_the_state_too(model):
    task = language_model_task(model, batch_size=4)
    optimizer = optax.sgd(0.1)
    state = create_train_state(task, optimizer, seed=0)
    step = jax.jit(make_train_step(task, optimizer))
    windows = _windows(4, 5)
    state, metrics = step(state, next(windows))
    assert bool(metrics["finite"]) and float(abs(state.model_state["carry"][0].hidden).max()) > 0
    after, metrics = step(state, next(windows) | {"tokens": np.full((4, 5), V, np.int32)})
    assert not bool(metrics["finite"])
    jax.tree.map(np.testing.assert_array_equal, after, state)


@pytest.mark.parametrize(("parallel", "rows", "window"), [("jit", 3, 4), ("pmap", 1, 100)])
def test_evaluation_reads_the_whole_text_with_a_state_of_its_own(model, parallel, rows, window):
    placement = make_placement(parallel, devices=jax.devices()[:1])
    task = language_model_task(model, batch_size=4, characters=True, axis_name=placement.axis_name)
    trainer = LanguageModelTrainer(
        task,
        model,
        placement,
        data=TextBatches(rows=4, window=5, eval_rows=rows),
        optimizer=OptimizerOptions(name="sgd", learning_rate=0.1, schedule="constant"),
        run=RunOptions(),
    )
    state = create_train_state(task, optax.sgd(0.1), seed=0)
    state = state.replace(model_state=jax.tree.map(lambda x: x + 3.0, state.model_state))  # not to be used
    scores, counts = trainer.evaluate(placement.place(state), TEXT)
    length = -(-82 // rows)
    total = 0.0
    for row in range(rows):
        part = TEXT[row * length : (row + 1) * length + 1]
        logits = model.apply({"params": state.params}, jnp.asarray(part[None, :-1]), train=False)[0]
        total -= log_softmax(np.asarray(logits)[0], -1)[np.arange(len(part) - 1), part[1:]].sum()
    assert counts["tokens"] == 82
    assert scores["loss"] == pytest.approx(total / 82, rel=1e-5)
    assert scores["perplexity"] == pytest.approx(np.exp(total / 82), rel=1e-5)
    assert scores["bits_per_character"] == pytest.approx(total / 82 / np.log(2), rel=1e-5)
    assert scores["log_likelihood"] == -scores["loss"]


def test_scores_of_nothing_and_of_a_hopeless_model_are_numbers():
    assert language_model_scores({"loss": 0.0, "tokens": 0})["perplexity"] == 1
    assert np.isfinite(language_model_scores({"loss": 1e6, "tokens": 1})["perplexity"])


def test_the_rate_falls_from_epoch_to_epoch_as_in_the_paper():
    data, epochs, optimizer = recipe_options("small")
    run, optimizer = epochs.apply(RunOptions(), optimizer, batches_per_epoch=10)
    assert (data.batch_size, data.window) == (20, 20)
    assert (run.steps, run.eval_every, run.checkpoint_every) == (130, 10, 10)
    _, rate = optimizer.build({"w": np.zeros(2)}, steps=run.steps)
    wanted = [1.0] * 4 + [0.5**k for k in range(1, 10)]
    np.testing.assert_allclose([rate(10 * e) / 20 for e in range(13)], wanted, rtol=1e-6)
    np.testing.assert_allclose([rate(10 * e + 9) / 20 for e in range(13)], wanted, rtol=1e-6)
    epochs = EpochOptions(constant=1, divisor=4.0)
    _, optimizer = epochs.apply(RunOptions(steps=25), optimizer, batches_per_epoch=10)
    assert optimizer.milestones == (10, 20) and optimizer.gamma == 0.25


@pytest.mark.parametrize("size", [0.001, 10.0])
@pytest.mark.parametrize("window", [35, 10])
def test_a_recipe_updates_as_the_paper_whose_loss_is_a_sum_over_the_window(size, window):
    _, epochs, optimizer = recipe_options("large", window=window)
    _, optimizer = epochs.apply(RunOptions(), optimizer, batches_per_epoch=10)
    params = {"w": np.zeros(50, np.float32)}
    ours, _ = optimizer.build(params, steps=100)
    mean = size * np.random.default_rng(0).normal(size=50).astype(np.float32)
    updates, _ = ours.update({"w": jnp.asarray(mean)}, ours.init(params), params)
    theirs = window * mean  # summed over the window; then clipped at a norm of 10, with a rate of 1
    theirs = theirs * min(1.0, 10 / np.linalg.norm(theirs))
    np.testing.assert_allclose(updates["w"], -theirs, rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: recipe_options("small", window=0), "--data.window: got 0, expected 1 or more"),
        (lambda: recipe_options("tiny"), "--recipe: expected one of small, medium, large, got 'tiny'"),
        (
            lambda: EpochOptions(constant=1).apply(
                RunOptions(), OptimizerOptions(accumulate=4), batches_per_epoch=3
            ),
            "accumulate 4: an update takes more than the 3 batch",
        ),
        (
            lambda: EpochOptions(total=0).apply(RunOptions(), OptimizerOptions(), batches_per_epoch=1),
            "--epochs.total: got 0, expected 1 or more",
        ),
    ],
)
def test_mistakes_in_options_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.fixture
def files(tmp_path):
    lines = ["one two three", "two Three, four", "", "one one"] * 10
    (tmp_path / "a.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "b.txt").write_text("one five\n")
    return tmp_path


def test_one_text_is_divided_from_its_end(files):
    text = LanguageModelData(source="files", paths=(files / "a.txt",), tokens="whitespace").read()
    # 80 words, of which 8 and 8 are held out; each line that is not empty has an end, and so has a cut one.
    words = {name: text.vocabulary.decode(part) for name, part in text.parts.items()}
    assert words["train"][:8] == ["one", "two", "three", "<eos>", "two", "Three,", "four", "<eos>"]
    assert {name: sum(w != "<eos>" for w in part) for name, part in words.items()} == {
        "train": 64,
        "validation": 8,
        "test": 8,
    }
    assert " ".join(words["test"]) == "one two three <eos> two Three, four <eos> one one <eos>"
    assert not text.characters and text.unknown_shares() == {"train": 0, "validation": 0, "test": 0}


def test_three_texts_share_the_vocabulary_of_the_first(files):
    a, b = (files / "a.txt",), (files / "b.txt",)
    text = LanguageModelData(source="files", paths=a, validation=b, test=b, min_count=1).read()
    assert text.vocabulary.tokens == ("<unk>", "<eos>", "one", "three", "two", "four")
    assert text.vocabulary.decode(text.parts["test"]) == ["one", "<unk>", "<eos>"]
    assert text.unknown_shares()["test"] == pytest.approx(1 / 3)


def test_characters_have_line_ends_and_no_other(files):
    data = LanguageModelData(source="files", paths=(files / "b.txt", files / "a.txt"), tokens="characters")
    text = data.read()
    joined = "".join(text.vocabulary.decode(np.concatenate(list(text.parts.values()))))
    assert joined == (files / "a.txt").read_text().join(["one five\n", ""])
    assert text.characters and text.vocabulary.tokens[0] == "<unk>" and "<eos>" not in text.vocabulary


def test_the_penn_treebank_in_words_and_characters(tmp_path):
    for part, line in (("train", " no it was <unk> \n a N \n"), ("valid", " it was \n"), ("test", " a \n")):
        (tmp_path / f"ptb.{part}.txt").write_text(line)
    text = LanguageModelData(source="ptb", paths=(tmp_path,)).read()
    words = ["no", "it", "was", "<unk>", "<eos>", "a", "N", "<eos>"]
    assert text.vocabulary.decode(text.parts["train"]) == words
    text = LanguageModelData(source="ptb", paths=(tmp_path,), tokens="characters").read()
    assert "".join(text.vocabulary.decode(text.parts["train"])) == "no it was <unk>\na N\n"


@pytest.mark.slow  # seconds to read the sources
def test_the_text_that_comes_with_python_is_large_enough_to_learn_from():
    text = LanguageModelData().read()
    assert 20_000 < len(text.parts["train"]) < 200_000
    assert len(text.parts["test"]) > 1000 and text.unknown_shares()["test"] < 0.15


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"", {}, "no token in 1 document"),
        (b" \n\n", {}, "no token in 1 document"),
        (b"caf\xe9 au lait", {}, "byte 0xe9 at offset 3 .line 1. is not UTF-8"),
        (b"word word\nword " * 20, {}, "'word' and nothing else, expected at least two"),
        (b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", {"tokens": "characters"}, "'a' and nothing else"),
        (b"a few words", {}, "3 tokens, of which --data.held-out 0.1 is 0"),
        (b"a b " * 20, {"held_out": 0.5}, "--data.held-out: got 0.5"),
        (b"a b c d e f g h i j " * 2, {"min_count": 9}, "none of 10 different tokens comes min_count = 9"),
    ],
)
def test_texts_that_cannot_be_learned_from_are_named(tmp_path, content, options, message):
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        LanguageModelData(source="files", paths=(path,), **options).read()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "files"}, "--data.source files needs --data.paths"),
        ({"source": "ptb"}, "--data.source ptb needs --data.paths FOLDER_OR_ZIP"),
        ({"paths": ("a.txt",)}, "needs --data.source files as well"),
        ({"source": "files", "paths": ("a.txt",), "test": ("b.txt",)}, "expected both or none"),
    ],
)
def test_texts_that_are_not_named_rightly(options, message):
    with pytest.raises(ValueError, match=message):
        LanguageModelData(**options).read()


def test_the_guard_finds_gradients_under_pmap_as_under_jit(model, variables):
    """It runs the loss of the whole batch on one device, whose axis then has one entry."""
    batch = jax.device_put(next(_windows(4, 5)) | {"starts": np.zeros(4, bool)})
    carry = jax.tree.map(lambda x: x + 0.5, variables["carry"])
    found = []
    for axis_name in (None, "data"):
        task = language_model_task(model, batch_size=4, axis_name=axis_name)
        key = jax.random.key_data(jax.random.key(0))
        state = TrainState(jnp.int32(0), key, variables["params"], {"carry": carry}, ())
        found.append(jax.jit(make_gradients(task, axis_name=axis_name))(state, batch))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), *found)
