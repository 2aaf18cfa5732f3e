"""Recurrent networks with weights shared with PyTorch, gradients included; dropout, errors."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.shared_weights import (
    arrays,
    assert_equal,
    initialized,
    jax_results,
    recorded,
    torch_results,
)
from reference.record_recurrent import (
    CASES,
    LENGTHS,
    NETS,
    VARIANTS,
    H,
    N,
    Net,
    T,
    recurrent_mask,
)

from jaxvision import ops
from jaxvision.core import unflatten_paths
from jaxvision.layers import GRU, LSTM, RNN, ConvLSTM, orthogonal

MODULES = {
    "gru before": GRU(H, reset_after=False),
    "lstm peephole": LSTM(H, peephole=True),
    "lstm norm": LSTM(H, layer_norm=True),
    "lstm all": LSTM(H, layer_norm=True, peephole=True, projection=2),
    "conv lstm": ConvLSTM(H, (3, 5)),
    "conv lstm peephole": ConvLSTM(H, (3, 5), peephole=True),
    "conv lstm reverse": ConvLSTM(H, (3, 5), use_bias=False),
}


def layer_of(net: Net):
    if net.kind == "rnn":
        return RNN(
            H, net.layers, net.bidirectional, use_bias=net.bias, activation="relu" if net.relu else "tanh"
        )
    options = {"num_layers": net.layers, "bidirectional": net.bidirectional, "use_bias": net.bias}
    options["dropout_rate"] = net.dropout
    return GRU(H, **options) if net.kind == "gru" else LSTM(H, projection=net.projection, **options)


def states_of(kind, inputs):
    if "hidden" not in inputs:
        return None
    if kind != "lstm":
        return tuple(inputs["hidden"])
    return tuple(map(ops.LSTMState, inputs["hidden"], inputs["cell"]))


def named(kind, y, states):
    if kind != "lstm":
        return {"y": y, "hidden": jnp.stack(states)}
    hidden, cell = map(jnp.stack, zip(*states, strict=True))
    return {"y": y, "hidden": hidden, "cell": cell}


def run_net(net, remat_chunk=None, train=False):
    layer = layer_of(net).copy(remat_chunk=remat_chunk)
    where = ops.sequence_mask(LENGTHS, T) if net.lengths else None

    def apply(variables, inputs):
        options = {"states": states_of(net.kind, inputs), "where": where, "train": train}
        y, states = layer.apply(variables, inputs["x"], rngs={"dropout": jax.random.key(0)}, **options)
        return named(net.kind, y, states), {}

    return jax_results(net.case(), apply)


def parameters_of(variant, tree):
    """The parameters that the op of a variant takes, of the variables of the module."""
    leaves = dict(tree["params"].get("layer0", tree["params"]))
    if "lstm" not in variant.loop:
        return ops.RecurrentParams(**leaves)
    if variant.loop == "conv_lstm":
        return ops.ConvLSTMParams(**leaves)
    norms = {}
    for name in ops.LSTMNorms._fields:
        part, leaf = name.split("_")
        if f"{part}_norm_{leaf}" in leaves:
            norms[name] = leaves.pop(f"{part}_norm_{leaf}")
    return ops.LSTMParams(**leaves, norms=ops.LSTMNorms(**norms) if norms else None)


def run_variant(variant, remat_chunk=None):
    options = {"reverse": variant.reverse, "remat_chunk": remat_chunk}
    if variant.lengths is not None:
        options["where"] = ops.sequence_mask(variant.lengths, T)
    if variant.mask:
        options["recurrent_mask"] = jnp.asarray(recurrent_mask(variant.out))
    function = {
        "relu_rnn": functools.partial(ops.rnn, activation="relu"),
        "gru_reset_after": ops.gru,
        "gru_reset_before": functools.partial(ops.gru, reset_after=False),
        "variant_lstm": ops.lstm,
        "conv_lstm": ops.conv_lstm,
    }[variant.loop]

    def apply(variables, inputs):
        state = inputs["hidden"]
        if "cell" in inputs:
            state = ops.LSTMState(state, inputs["cell"])
        y, last = function(parameters_of(variant, variables), inputs["x"], state, **options)
        return {"y": y, "hidden": last} if "cell" not in inputs else {"y": y, **last._asdict()}, {}

    return jax_results(variant.case(), apply)


@pytest.mark.parametrize("name", CASES)
def test_equals_recorded_torch(name):
    ours = run_net(NETS[name]) if name in NETS else run_variant(VARIANTS[name])
    assert_equal(ours, recorded("recurrent")[name])


@pytest.mark.parametrize(
    ("name", "chunk"),
    [
        ("gru no bias", 3),
        ("conv lstm peephole", 3),
        pytest.param("lstm stacked", 1, marks=pytest.mark.slow),
        pytest.param("lstm stacked", 3, marks=pytest.mark.slow),
        pytest.param("lstm all", 2, marks=pytest.mark.slow),
        pytest.param("rnn relu", 4, marks=pytest.mark.slow),
    ],
)
def test_chunks_that_are_computed_again_change_nothing(name, chunk):
    ours = run_net(NETS[name], chunk) if name in NETS else run_variant(VARIANTS[name], chunk)
    assert_equal(ours, recorded("recurrent")[name])


PRODUCT = [
    Net(kind, layers, bidirectional, bias, lengths, states, projection, relu)
    for kind, projection, relu in (
        ("rnn", None, False),
        ("rnn", None, True),
        ("gru", None, False),
        ("lstm", None, False),
        ("lstm", 3, False),
    )
    for layers, bidirectional, bias, lengths, states in itertools.product(
        (1, 2), (False, True), (False, True), (False, True), (False, True)
    )
]


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("net", PRODUCT, ids=lambda net: "-".join(str(value) for value in net))
def test_equals_torch(net):
    pytest.importorskip("torch")
    assert_equal(run_net(net), torch_results(net.case()))


@pytest.mark.parity
@pytest.mark.parametrize("name", VARIANTS)
def test_variants_equal_loops_in_torch(name):
    pytest.importorskip("torch")
    assert_equal(run_variant(VARIANTS[name]), torch_results(VARIANTS[name].case()))


@pytest.mark.parity
@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_dropout_of_all_is_torchs(kind):
    pytest.importorskip("torch")
    net = Net(kind, 2, states=True, dropout=1.0)
    assert_equal(run_net(net, train=True), torch_results(net.case()))


@pytest.mark.parametrize("name", [*NETS, *MODULES])
def test_variables_have_the_names_that_rules_target(name):
    layer = layer_of(NETS[name]) if name in NETS else MODULES[name]
    inputs, _ = arrays(CASES[name])
    init = layer.init if isinstance(layer, ConvLSTM) else functools.partial(layer.init, train=False)
    assert initialized(init, inputs["x"]) == dict(CASES[name].variables)


@pytest.mark.parametrize("name", ["lstm peephole", "lstm norm", "gru before", "conv lstm"])
def test_modules_of_variants_compute_what_their_ops_do(name):
    inputs, flat = arrays(CASES[name])
    layer, state = MODULES[name], inputs["hidden"]
    if "cell" in inputs:
        state = ops.LSTMState(state, inputs["cell"])
    options = {"state": state} if name == "conv lstm" else {"states": (state,), "train": False}
    if VARIANTS[name].lengths is not None:
        options["where"] = ops.sequence_mask(VARIANTS[name].lengths, T)
    y, _ = jax.jit(lambda variables, x: layer.apply(variables, x, **options))(
        unflatten_paths(flat), inputs["x"]
    )
    assert_equal({"y": y}, {"y": recorded("recurrent")[name]["output y"]})


def made(layer, channels=4, seed=0):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(N, T, channels)), jnp.float32)
    return x, jax.jit(functools.partial(layer.init, train=False))(jax.random.key(seed), x)


def test_weights_start_as_those_of_torch():
    _, variables = made(LSTM(64, 2, projection=8), channels=100)
    for leaf in jax.tree.leaves(variables):
        assert np.abs(leaf).max() <= 1 / 8
    kernel = np.asarray(variables["params"]["layer0"]["input_kernel"])
    assert kernel.std() == pytest.approx(1 / 8 / np.sqrt(3), rel=0.02)  # uniform: width / sqrt(12)
    assert not np.array_equal(kernel, np.roll(kernel, 64, axis=1))


def test_each_gate_starts_orthogonal():
    _, variables = made(LSTM(16, recurrent_init=orthogonal()))
    kernel = np.asarray(variables["params"]["layer0"]["recurrent_kernel"])
    for gate in np.split(kernel, 4, axis=1):
        np.testing.assert_allclose(gate @ gate.T, np.eye(16), atol=1e-5)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_the_forget_gate_starts_open(layer_norm):
    _, variables = made(LSTM(3, layer_norm=layer_norm, forget_bias=1.5))
    weights = variables["params"]["layer0"]
    names = ("input_norm_bias", "recurrent_norm_bias") if layer_norm else ("input_bias", "recurrent_bias")
    total = sum(np.asarray(weights[name]) for name in names)
    np.testing.assert_array_equal(total[3:6], [1.5] * 3)
    assert (total[:3] != 1.5).all() and (total[6:] != 1.5).all()


def test_dropout_is_between_layers_only():
    layer = GRU(4, 2, dropout_rate=0.5)
    x, variables = made(layer)
    one = GRU(4)
    below = {"params": {"layer0": variables["params"]["layer0"]}}
    first, _ = jax.jit(functools.partial(one.apply, train=False))(below, x)
    traces = []

    @jax.jit
    def second(key):
        traces.append(1)
        y, states = layer.apply(variables, x, train=True, rngs={"dropout": key})
        return states[0], y

    lower, a = second(jax.random.key(1))
    _, b = second(jax.random.key(2))
    np.testing.assert_allclose(lower, first[:, -1], atol=1e-6)  # nothing is dropped in front of the first
    assert not np.allclose(a, b)
    assert len(traces) == 1
    assert (np.asarray(a) != 0).all()  # and nothing behind the last


@pytest.mark.parametrize("variational", [False, True])
def test_variational_dropout_takes_the_same_units_at_each_step(variational):
    """The second layer adds its input up, so that what is dropped shows in its outputs' differences."""
    layer = RNN(2, 2, dropout_rate=0.5, variational=variational, use_bias=False, activation="relu")
    eye, zeros = jnp.eye(2), jnp.zeros((2, 2))
    first = {"input_kernel": eye, "recurrent_kernel": zeros}
    second = {"input_kernel": eye, "recurrent_kernel": eye}
    variables = {"params": {"layer0": first, "layer1": second}}
    run = jax.jit(functools.partial(layer.apply, train=True))
    y, _ = run(variables, jnp.ones((64, 8, 2)), rngs={"dropout": jax.random.key(0)})
    steps = np.diff(np.asarray(y), axis=1, prepend=0)
    assert set(np.unique(steps.round(4))) == {0.0, 2.0}
    same = (steps == steps[:, :1]).all(1)
    assert same.all() if variational else same.mean() < 0.1
    assert (steps == 0).mean() == pytest.approx(0.5, abs=0.12)


def test_recurrent_dropout_takes_one_mask_a_sequence():
    """A unit that only keeps its own value: dropped, it forgets at once; kept, it doubles at each step."""
    layer = RNN(3, recurrent_dropout_rate=0.5, use_bias=False, activation="relu")
    weights = {"input_kernel": jnp.zeros((1, 3)), "recurrent_kernel": jnp.eye(3)}
    states = (jnp.ones((200, 3)),)
    call = functools.partial(
        layer.apply, {"params": {"layer0": weights}}, jnp.zeros((200, 4, 1)), states=states
    )
    y, _ = call(train=True, rngs={"dropout": jax.random.key(0)})
    rows = np.asarray(y).transpose(0, 2, 1).reshape(-1, 4)
    assert {tuple(row) for row in rows.tolist()} == {(0.0,) * 4, (2.0, 4.0, 8.0, 16.0)}
    assert (rows[:, 0] == 0).mean() == pytest.approx(0.5, abs=0.08)
    np.testing.assert_array_equal(call(train=False)[0], np.ones((200, 4, 3)))


def test_states_go_from_call_to_call():
    layer = LSTM(4, 2, projection=3)
    x, variables = made(layer)

    @jax.jit
    def run(variables, x):
        begun, states = layer.apply(variables, x[:, :2], states=layer.initial_states(N), train=False)
        rest = layer.apply(variables, x[:, 2:], states=states, train=False)
        return layer.apply(variables, x, train=False), begun, rest

    (whole, last), begun, (rest, after) = run(variables, x)
    np.testing.assert_allclose(jnp.concatenate([begun, rest], 1), whole, atol=1e-6)
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-6), after, last)
    shapes = jax.tree.map(jnp.shape, layer.initial_states(N))
    assert shapes == jax.tree.map(jnp.shape, last)


@pytest.mark.parametrize("layer", [RNN(4), GRU(4), LSTM(4)], ids=lambda layer: type(layer).__name__)
def test_bfloat16_is_as_exact_as_its_eight_bits(layer):
    x, variables = made(layer)

    @jax.jit
    def run(variables):
        def total(variables):
            y, states = layer.copy(dtype=jnp.bfloat16).apply(variables, x, train=False)
            return y.astype(jnp.float32).sum(), (y, states)

        gradient, (y, states) = jax.grad(total, has_aux=True)(variables)
        return layer.apply(variables, x, train=False)[0], y, states, gradient

    exact, y, states, gradient = run(variables)
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves((states, gradient))} == {jnp.dtype("float32")}
    np.testing.assert_allclose(np.asarray(y, np.float32), exact, atol=0.03)


def test_one_program_serves_every_batch_and_length():
    layer = LSTM(4, bidirectional=True)
    x, variables = made(layer)
    count, steps = jax.export.symbolic_shape("n, t")

    @jax.jit
    def run(x, where):
        return layer.apply(variables, x, where=where, train=False)[0]

    shapes = jax.ShapeDtypeStruct((count, steps, 4), jnp.float32), jax.ShapeDtypeStruct((count, steps), bool)
    exported = jax.export.export(run)(*shapes)
    where = ops.sequence_mask(LENGTHS, T)
    np.testing.assert_allclose(exported.call(x, where), run(x, where), atol=1e-6)


def test_errors():
    x = jnp.ones((2, 3, 4))

    def shapes(layer, x, **options):
        jax.eval_shape(functools.partial(layer.init, **options), jax.random.key(0), x)

    with pytest.raises(ValueError, match=r"x: expected \[N, T, C\], got \[3, 4\]; add a batch axis"):
        shapes(LSTM(4), x[0], train=False)
    with pytest.raises(ValueError, match="num_layers: expected at least 1, got 0"):
        shapes(GRU(4, 0), x, train=False)
    with pytest.raises(ValueError, match="states: expected 4, one a layer and direction, got 2"):
        shapes(GRU(4, 2, True), x, states=(None, None), train=False)
    with pytest.raises(ValueError, match="projection: expected from 1 to 3, below the features, got 4"):
        shapes(LSTM(4, projection=4), x, train=False)
    with pytest.raises(ValueError, match="recurrent_dropout_rate: expected a probability"):
        shapes(RNN(4, recurrent_dropout_rate=1.5), x, train=False)
    with pytest.raises(ValueError, match=r"x: expected \[N, T, H, W, C\], got \[2, 3, 4\]; one frame a step"):
        shapes(ConvLSTM(4, 3), x)
    with pytest.raises(ValueError, match="odd kh and kw"):
        shapes(ConvLSTM(4, 2), jnp.ones((2, 3, 4, 4, 1)))
