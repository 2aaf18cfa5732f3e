"""The language model against numpy and PyTorch: logits, states, gradients over windows; dropout; errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from jaxvision.core import count_parameters
from jaxvision.sequence import LanguageModel, language_model

V, H, N, T = 11, 6, 3, 4


def _model(**fields):
    return LanguageModel(**{"vocab_size": V, "features": H, "init_scale": 0.5, **fields})


def _tokens(seed=0, shape=(N, T)):
    return jnp.asarray(np.random.default_rng(seed).integers(0, V, shape), jnp.int32)


def _init(model, seed=1):
    return jax.jit(lambda key: model.init(key, jnp.zeros((1, 1), jnp.int32), train=False))(
        jax.random.key(seed)
    )


def _numpy_lstm(params, inputs, states):
    """Layer by layer, step by step; gates are input, forget, cell, output."""
    last = []
    for layer, (hidden, cell) in enumerate(states):
        p = {name: np.asarray(leaf, np.float64) for name, leaf in params[f"layer{layer}"].items()}
        outputs = []
        for t in range(inputs.shape[1]):
            gates = inputs[:, t] @ p["input_kernel"] + hidden @ p["recurrent_kernel"]
            i, f, g, o = np.split(gates + p["input_bias"] + p["recurrent_bias"], 4, -1)
            cell = expit(f) * cell + expit(i) * np.tanh(g)
            hidden = expit(o) * np.tanh(cell)
            outputs.append(hidden)
        inputs = np.stack(outputs, 1)
        last.append((hidden, cell))
    return inputs, last


def _zeros():
    return [(np.zeros((N, H)), np.zeros((N, H)))] * 2


@pytest.mark.parametrize("tied", [False, True])
def test_two_windows_are_the_formulas(tied):
    model = _model(tied=tied)
    variables = _init(model)
    params = variables["params"]
    table = np.asarray(params["embedding"]["embedding"], np.float64)
    kernel = table.T if tied else np.asarray(params["head"]["kernel"], np.float64)
    assert ("kernel" in params["head"]) is not tied
    states, expected = None, _zeros()
    for seed in (0, 1):
        tokens = _tokens(seed)
        logits, states = model.apply(variables, tokens, states=states, train=False)
        outputs, expected = _numpy_lstm(params["recurrent"], table[np.asarray(tokens)], expected)
        wanted = outputs @ kernel + np.asarray(params["head"]["bias"])
        np.testing.assert_allclose(logits, wanted, rtol=1e-5, atol=1e-5)
        for state, (hidden, cell) in zip(states, expected, strict=True):
            np.testing.assert_allclose(state.hidden, hidden, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(state.cell, cell, rtol=1e-5, atol=1e-6)


def test_dropout_is_in_front_between_and_behind_but_not_from_step_to_step():
    model = _model(dropout_rate=1.0)
    params = _init(model)["params"]
    rng = np.random.default_rng(2)
    first = [(rng.normal(size=(N, H)), rng.normal(size=(N, H))) for _ in range(2)]
    template = model.initial_states(N)
    leaves = [jnp.asarray(x, jnp.float32) for pair in first for x in pair]
    states = jax.tree.unflatten(jax.tree.structure(template), leaves)
    logits, last = model.apply(
        {"params": params}, _tokens(), states=states, train=True, rngs={"dropout": jax.random.key(0)}
    )
    # Nothing gets in, up or out; what goes from step to step is whole.
    np.testing.assert_array_equal(logits, np.broadcast_to(params["head"]["bias"], (N, T, V)))
    _, expected = _numpy_lstm({"layer0": params["recurrent"]["layer0"]}, np.zeros((N, T, H)), first[:1])
    _, second = _numpy_lstm({"layer0": params["recurrent"]["layer1"]}, np.zeros((N, T, H)), first[1:])
    for state, (hidden, cell) in zip(last, expected + second, strict=True):
        np.testing.assert_allclose(state.hidden, hidden, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(state.cell, cell, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("variational", [False, True])
def test_variational_dropout_has_one_mask_for_all_steps(variational):
    model = _model(dropout_rate=0.5, variational=variational, features=32)
    _, caught = model.apply(
        _init(model),
        _tokens(),
        train=True,
        rngs={"dropout": jax.random.key(3)},
        capture_intermediates=lambda module, _: (module.name or "").startswith("dropout_"),
        mutable=["intermediates"],
    )
    for name in ("dropout_in", "dropout_out"):
        (dropped,) = caught["intermediates"][name]["__call__"]
        zeros = np.asarray(dropped == 0)
        assert 0.3 < zeros.mean() < 0.7
        assert (zeros == zeros[:, :1]).all() == variational


def test_the_networks_of_the_paper_have_its_sizes():
    # Zaremba et al. say about 200 units, 650 and 1500 of a vocabulary of 10,000; counted here by hand:
    # embedding and head V H, biases V, and 4 H (2 H + 2) a layer.
    for variant, width in (("small", 200), ("medium", 650), ("large", 1500)):
        model = language_model(variant, vocab_size=10_000)
        shapes = jax.eval_shape(lambda model=model: _init(model))
        wanted = 2 * 10_000 * width + 10_000 + 2 * 4 * width * (2 * width + 2)
        assert count_parameters(shapes) == wanted
        assert (model.dropout_rate, model.init_scale) == {
            "small": (0.0, 0.1),
            "medium": (0.5, 0.05),
            "large": (0.65, 0.04),
        }[variant]


def test_all_parameters_start_uniform_in_the_scale():
    params = _init(_model(features=40, init_scale=0.05))["params"]
    for leaf in jax.tree.leaves(params):
        assert 0.02 < float(abs(leaf).max()) <= 0.05
        assert float(leaf.min()) < 0 < float(leaf.max())


@pytest.mark.parametrize("cell", ["gru", "rnn"])
def test_other_cells_go_on_too(cell):
    model = _model(cell=cell, num_layers=1)
    variables = _init(model)
    tokens = _tokens()
    whole, last = model.apply(variables, tokens, train=False)
    first, state = model.apply(variables, tokens[:, :2], train=False)
    second, state = model.apply(variables, tokens[:, 2:], states=state, train=False)
    np.testing.assert_allclose(jnp.concatenate([first, second], 1), whole, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(state[0], last[0], rtol=1e-5, atol=1e-6)
    assert jax.tree.map(jnp.shape, last) == jax.tree.map(jnp.shape, model.initial_states(N))


def test_bfloat16_multiplies_but_states_and_logits_are_wide():
    model, narrow = _model(tied=True), _model(tied=True, dtype=jnp.bfloat16)
    variables = _init(model)
    logits, states = narrow.apply(variables, _tokens(), train=False)
    assert {x.dtype for x in jax.tree.leaves((logits, states))} == {jnp.dtype(jnp.float32)}
    wanted, _ = model.apply(variables, _tokens(), train=False)
    np.testing.assert_allclose(logits, wanted, atol=0.05)
    assert float(abs(logits - wanted).max()) > 0


def test_the_second_call_is_not_traced_and_empty_batches_run():
    model, traces = _model(num_layers=1), []
    variables = _init(model)

    @jax.jit
    def run(tokens, states):
        traces.append(1)
        return model.apply(variables, tokens, states=states, train=False)

    _, states = run(_tokens(), model.initial_states(N))
    run(_tokens(1), states)
    assert len(traces) == 1
    for shape in ((0, T), (N, 0)):
        assert run(jnp.zeros(shape, jnp.int32), model.initial_states(shape[0]))[0].shape == (*shape, V)


def test_a_token_outside_the_vocabulary_is_nan():
    model = _model(num_layers=1)
    logits, _ = model.apply(_init(model), jnp.array([[0, V, 1]]), train=False)
    assert np.isfinite(logits[0, 0]).all() and np.isnan(logits[0, 1:]).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: _init(_model(cell="lstmp")), "cell: expected one of rnn, gru, lstm, got 'lstmp'"),
        (
            lambda: _init(_model(tied=True, embedding_features=3)),
            "tied weights score the 6 features.*width is 3",
        ),
        (lambda: language_model("tiny", vocab_size=V), "unknown language model 'tiny'"),
        (
            lambda: _model().init(jax.random.key(0), jnp.zeros(3, jnp.int32), train=False),
            r"\[N, T\], got \[3\]",
        ),
        (
            lambda: _model().init(jax.random.key(0), jnp.zeros((1, 2)), train=False),
            "tokens: expected an integer",
        ),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parity
@pytest.mark.parametrize(
    ("cell", "tied"), [("lstm", False), ("lstm", True), ("gru", False), ("rnn", True)], ids=str
)
def test_losses_and_gradients_over_two_windows_are_those_of_torch(cell, tied):
    from oracles.torch_language_model import TorchLanguageModel, gradient_names, windows_of

    from jaxvision.tasks import language_model_task

    model = _model(cell=cell, tied=tied)
    task = language_model_task(model, batch_size=N)
    variables = jax.jit(task.init)(jax.random.key(4))
    params, state = variables["params"], {"carry": variables["carry"]}
    torch_model = TorchLanguageModel(cell, V, H, 2, tied)
    torch_model.fill(params)
    windows = [(np.asarray(_tokens(seed)), np.asarray(_tokens(seed + 10))) for seed in (0, 1)]

    @jax.jit
    def run(params, state, batch):
        def objective(params):
            terms, after = task.loss(params, state, batch, jax.random.key(0))
            return terms["cross_entropy"].mean(), after

        return jax.value_and_grad(objective, has_aux=True)(params)

    for number, (loss, gradients) in enumerate(windows_of(torch_model, windows)):
        tokens, targets = windows[number]
        batch = {
            "tokens": tokens,
            "targets": targets,
            "where": np.ones((N, T), bool),
            "starts": np.full(N, number == 0),
        }
        (found, state), slopes = run(params, state, batch)
        assert float(found) == pytest.approx(loss, rel=1e-5)
        named = gradient_names(slopes)
        assert named.keys() == gradients.keys()
        for name, wanted in gradients.items():
            np.testing.assert_allclose(named[name], wanted, rtol=1e-5, atol=1e-6, err_msg=f"{number} {name}")
