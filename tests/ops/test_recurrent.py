"""Recurrent ops: masks, chunks, derivatives, transformations, gradients over distance, errors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.experimental import checkify

from jaxvision import ops

N, T, C, H = 3, 4, 3, 2


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng([seed, *shape]).normal(size=shape), jnp.float32)


def gates(count, **more):
    shapes = {"input_kernel": (C, count * H), "recurrent_kernel": (more.pop("out", H), count * H)}
    shapes |= {"input_bias": (count * H,), "recurrent_bias": (count * H,)}
    return {name: draw(*shape, seed=seed) for seed, (name, shape) in enumerate((shapes | more).items())}


def norms():
    return ops.LSTMNorms(*(draw(width * H, seed=20 + i) for i, width in enumerate((4, 4, 4, 4, 1, 1))))


def lstm_state(out=H):
    return ops.LSTMState(draw(N, out, seed=8), draw(N, H, seed=9))


KINDS = ("rnn", "gru", "gru before", "lstm", "lstm projected", "lstm norm", "conv lstm")
# The others' larger programs take their time to compile.
QUICK_FIRST = [
    kind if kind in ("rnn", "gru") else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS
]


@functools.cache
def kind_of(kind):
    """Parameters, first state and function."""
    if kind == "rnn":
        return ops.RecurrentParams(**gates(1)), draw(N, H), ops.rnn
    if kind.startswith("gru"):
        function = functools.partial(ops.gru, reset_after=kind == "gru")
        return ops.RecurrentParams(**gates(3)), draw(N, H), function
    if kind == "lstm":
        return ops.LSTMParams(**gates(4)), lstm_state(), ops.lstm
    if kind == "lstm projected":
        params = ops.LSTMParams(**gates(4, out=1, projection_kernel=(H, 1), peepholes=(3, H)))
        return params, lstm_state(1), ops.lstm
    if kind == "lstm norm":
        kernels = gates(4)["input_kernel"], gates(4)["recurrent_kernel"]
        return ops.LSTMParams(*kernels, norms=norms()), lstm_state(), ops.lstm
    params = ops.ConvLSTMParams(draw(3, 3, C, 4 * H), draw(1, 3, H, 4 * H), draw(4 * H), draw(3, 4, 2, H))
    return params, ops.LSTMState(draw(N, 4, 2, H), draw(N, 4, 2, H, seed=1)), ops.conv_lstm


def input_of(kind):
    return draw(N, T, 4, 2, C) if kind == "conv lstm" else draw(N, T, C)


def assert_trees_close(a, b, atol=1e-5):
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=atol), a, b)


@pytest.mark.parametrize("kind", QUICK_FIRST)
@pytest.mark.parametrize("reverse", [False, True])
def test_padded_sequences_equal_those_run_alone_whatever_the_padding_holds(kind, reverse):
    params, state, function = kind_of(kind)
    lengths, x = [2, 4, 0], input_of(kind)
    where = ops.sequence_mask(lengths, T)
    poisoned = jnp.where(where.reshape(N, T, *(1,) * (x.ndim - 2)), x, jnp.nan)

    @jax.jit
    def run(params, x, state):
        def total(params, x, state, where):
            y, last = function(params, x, state, where=where, reverse=reverse)
            return sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves((y, last))), (y, last)

        padded = jax.value_and_grad(total, (0, 1, 2), has_aux=True)(params, poisoned, state, where)
        alone = []
        for n, length in enumerate(lengths[:2]):
            one = jax.tree.map(lambda leaf, n=n: leaf[n : n + 1], state)
            grad = jax.value_and_grad(total, (0, 1, 2), has_aux=True)
            alone.append(grad(params, x[n : n + 1, :length], one, None))
        return padded, alone

    ((_, (y, last)), (of_params, of_x, of_state)), alone = run(params, x, state)
    assert_trees_close(jax.tree.map(lambda leaf: leaf[2], last), jax.tree.map(lambda leaf: leaf[2], state))
    for n, ((_, (one_y, one_last)), (_, one_of_x, one_of_state)) in enumerate(alone):
        np.testing.assert_allclose(y[n, : lengths[n]], one_y[0], atol=1e-5)
        assert (np.asarray(y[n, lengths[n] :]) == 0).all()
        np.testing.assert_allclose(of_x[n, : lengths[n]], one_of_x[0], atol=1e-4)
        assert (np.asarray(of_x[n, lengths[n] :]) == 0).all()
        mine = jax.tree.map(lambda leaf, n=n: leaf[n : n + 1], (last, of_state))
        assert_trees_close(mine, (one_last, one_of_state), 1e-4)
    total = jax.tree.map(lambda *leaves: sum(leaves), *(one[1][0] for one in alone))
    assert_trees_close(of_params, total, 1e-3)


@pytest.mark.parametrize("kind", QUICK_FIRST)
def test_derivatives_forward_reverse_and_second_are_finite_differences(kind):
    params, state, function = kind_of(kind)
    x, where = input_of(kind), ops.sequence_mask([4, 3, 4], T)
    with jax.enable_x64(True):
        arguments = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), (params, x, state))
        direction = jax.tree.map(lambda a: jnp.asarray(draw(*a.shape, seed=5), jnp.float64), arguments)

        def total(arguments):
            y, last = function(*arguments, where=where)
            return sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves((y, last)))

        def along(a, b):
            return sum((u * v).sum() for u, v in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))

        @jax.jit
        def run(arguments, step):
            def at(amount):
                return jax.tree.map(lambda leaf, d: leaf + amount * d, arguments, direction)

            gradient = jax.grad(total)
            forward = jax.jvp(total, (arguments,), (direction,))[1]
            difference = (total(at(step)) - total(at(-step))) / (2 * step)
            second = jax.jvp(lambda a: along(gradient(a), direction), (arguments,), (direction,))[1]
            steps = along(gradient(at(step)), direction) - along(gradient(at(-step)), direction)
            steps /= 2 * step
            return forward, along(gradient(arguments), direction), difference, second, steps

        forward, reverse, difference, second, steps = map(float, run(arguments, 1e-6))
    assert forward == pytest.approx(difference, rel=1e-6)
    assert reverse == pytest.approx(difference, rel=1e-6)
    assert second == pytest.approx(steps, rel=1e-5)


@pytest.mark.parametrize("kind", ["gru", pytest.param("lstm norm", marks=pytest.mark.slow)])
def test_only_what_is_asked_for_is_differentiated(kind):
    """The rule leaves out what has no tangent: each part's gradient alone is that of all together."""
    params, state, function = kind_of(kind)
    arguments = (params, input_of(kind), state)

    @jax.jit
    def run(*arguments):
        def total(*arguments):
            return jnp.square(function(*arguments)[0]).sum()

        return jax.grad(total, (0, 1, 2))(*arguments), tuple(jax.grad(total, i)(*arguments) for i in range(3))

    assert_trees_close(*run(*arguments))


@pytest.mark.parametrize("kind", KINDS)
def test_traced_once_mapped_one_sequence_and_none(kind):
    params, state, function = kind_of(kind)
    x, traces = input_of(kind), []

    @jax.jit
    def run(params, x, state):
        traces.append(1)
        single = jax.vmap(lambda x, state: function(params, x, state))
        lifted = jax.tree.map(lambda leaf: leaf[:, None], (x, state))
        nothing = jax.tree.map(lambda leaf: leaf[:0], (x, state))
        gradient = jax.grad(lambda params, x, state: function(params, x, state)[0].sum())(params, *nothing)
        return function(params, x, state), single(*lifted), function(params, *nothing), gradient

    whole, mapped, nothing, gradient = run(params, x, state)
    assert_trees_close(whole, jax.tree.map(lambda leaf: leaf[:, 0], mapped))
    assert nothing[0].shape == (0, *whole[0].shape[1:])
    assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(gradient))
    run(params, x + 1, state)
    assert len(traces) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_sequence_keeps_its_state(kind):
    params, state, function = kind_of(kind)
    y, last = function(params, input_of(kind)[:, :0], state)
    hidden = state[0] if isinstance(state, tuple) else state
    assert y.shape == (N, 0, *hidden.shape[1:])
    assert_trees_close(last, state)
    assert y.dtype == jnp.float32


def test_states_are_float32_and_sums_too_where_the_input_is_bfloat16():
    """257 steps of one: bfloat16 would stay at 256."""
    one = jnp.ones((1, 1), jnp.bfloat16)
    x = jnp.zeros((1, 300, 1), jnp.bfloat16)
    count = ops.RecurrentParams(jnp.zeros_like(one), one, input_bias=jnp.ones(1))
    zeros = jnp.zeros((1, 4), jnp.bfloat16)
    params = ops.LSTMParams(zeros, zeros, input_bias=jnp.array([30.0, 30.0, 30.0, 0.0]))
    y, last = ops.lstm(params, x, None)
    assert y.dtype == jnp.bfloat16
    assert last.cell.dtype == jnp.float32
    assert float(last.cell[0, 0]) == 300
    assert ops.rnn(count, x[:, :3], None, activation="relu")[1].tolist() == [[3.0]]


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 6), max_size=4), st.integers(1, 7), st.booleans())
def test_chunks_change_nothing(lengths, chunk, reverse):
    params, _, function = kind_of("gru")
    x = draw(len(lengths), 6, C)
    where = ops.sequence_mask(np.asarray(lengths, np.int32), 6)

    def run(chunk):
        def total(x):
            y, last = function(params, x, None, where=where, reverse=reverse, remat_chunk=chunk)
            return jnp.square(y).sum() + last.sum(), (y, last)

        return jax.grad(total, has_aux=True)(x)

    assert_trees_close(jax.jit(run, static_argnums=0)(chunk), jax.jit(run, static_argnums=0)(None))


def test_chunks_take_less_memory():
    params, x = ops.LSTMParams(draw(8, 64), draw(16, 64)), draw(4, 256, 8)

    def bytes_of(chunk):
        def total(params, x):
            return ops.lstm(params, x, None, remat_chunk=chunk)[0].sum()

        return jax.jit(jax.grad(total)).lower(params, x).compile().memory_analysis().temp_size_in_bytes

    assert bytes_of(16) < 0.5 * bytes_of(None)


def test_masks_of_lengths():
    mask = ops.sequence_mask([0, 2, 3], 3)
    np.testing.assert_array_equal(mask, [[0, 0, 0], [1, 1, 0], [1, 1, 1]])
    assert ops.sequence_mask(jnp.zeros(0, jnp.int32), 3).shape == (0, 3)
    with pytest.raises(ValueError, match="expected from 0 to 3 steps, got from 0 to 4; pad the batch"):
        ops.sequence_mask([1, 4], 3)
    with pytest.raises(ValueError, match="got from -1 to 0"):
        ops.sequence_mask([-1], 3)
    with pytest.raises(ValueError, match="lengths: expected an integer dtype"):
        ops.sequence_mask([1.0], 3)
    with pytest.raises(ValueError, match=r"lengths: expected \[N\]"):
        ops.sequence_mask(2, 3)
    mask_of = functools.partial(ops.sequence_mask, num_steps=3)
    checked = jax.jit(checkify.checkify(mask_of, errors=checkify.user_checks))
    error, full = checked(jnp.array([7]))
    assert "expected from 0 to 3 steps, got from 0 to 7" in str(error.get())
    assert full.all()
    assert checked(jnp.array([3]))[0].get() is None


def test_windows_cut_the_gradient_and_nothing_else():
    params, state, _ = kind_of("lstm")
    x = draw(N, 6, C)

    @functools.partial(jax.jit, static_argnums=2)
    def gradients(x, state, window):
        def run(x, state):
            if window is None:
                return ops.lstm(params, x, state)
            return ops.scan_windows(lambda state, x: ops.lstm(params, x, state), state, x, window=window)

        return run(x, state), jax.grad(lambda x, s: run(x, s)[0][:, 5].sum(), (0, 1))(x, state)

    whole, (of_x, _) = gradients(x, state, None)
    cut, (of_cut, of_state) = gradients(x, state, 3)
    assert_trees_close(whole, cut)
    np.testing.assert_allclose(of_cut[:, 3:], of_x[:, 3:], atol=1e-6)
    assert (np.asarray(of_cut[:, :3]) == 0).all()
    assert (np.asarray(of_x[:, :3]) != 0).any()
    assert all((np.asarray(leaf) == 0).all() for leaf in of_state)
    with pytest.raises(ValueError, match="window: expected a divisor of the 6 steps, got 4"):
        ops.scan_windows(lambda state, x: (x, state), state, x, window=4)
    with pytest.raises(ValueError, match=r"sequences: expected \[N, T, ...\] with one T, got \[5, 6\]"):
        ops.scan_windows(lambda state, x: (x, state), state, (x, x[:, :5]), window=1)


def test_a_gradient_vanishes_or_explodes_over_an_elman_network_and_not_over_an_lstm():
    """Norms of d h_T / d h_0 over 60 steps; recurrent kernels are orthogonal, times a gain."""
    width, steps = 16, 60
    orthogonal = jnp.linalg.qr(draw(width, width))[0]
    x = 0.1 * draw(1, steps, 1)

    def norm(run, state):
        return float(jnp.linalg.norm(jax.jit(jax.jacrev(run))(state)[0, :, 0], 2))

    def elman(gain, activation):
        params = ops.RecurrentParams(jnp.ones((1, width)), gain * orthogonal)
        return norm(lambda h: ops.rnn(params, x, h, activation=activation)[1], jnp.zeros((1, width)))

    assert elman(0.8, "tanh") < 1e-4
    kernel = jnp.tile(0.1 * orthogonal, (1, 4))

    def through_cell(forget_bias):
        bias = jnp.repeat(jnp.array([0.0, forget_bias, 0.0, 0.0]), width)
        params = ops.LSTMParams(jnp.ones((1, 4 * width)), kernel, bias)
        zeros = jnp.zeros((1, width))
        return norm(lambda c: ops.lstm(params, x, ops.LSTMState(zeros, c))[1].cell, zeros)

    assert through_cell(6.0) > 0.5  # the gate lets 0.9975 a step through
    assert through_cell(6.0) < 5
    assert through_cell(0.0) < 1e-4
    positive = ops.RecurrentParams(jnp.ones((1, width)), 1.3 * jnp.eye(width))
    growth = norm(lambda h: ops.rnn(positive, 1 + x, h, activation="relu")[1], jnp.ones((1, width)))
    assert growth == pytest.approx(1.3**steps, rel=1e-3)


def test_errors():
    params, _, _ = kind_of("lstm")
    x = draw(N, T, C)
    with pytest.raises(ValueError, match=r"x: expected \[N, T, C\], got \[4, 3\]; add a batch axis"):
        ops.lstm(params, x[0], None)
    with pytest.raises(ValueError, match="x: expected a floating dtype, got int32"):
        ops.lstm(params, jnp.ones((N, T, C), jnp.int32), None)
    with pytest.raises(ValueError, match=r"input_kernel: expected \[5, 8\], 4 gates of 2 units side by side"):
        ops.lstm(params, draw(N, T, 5), None)
    with pytest.raises(ValueError, match=r"recurrent_kernel: expected \[2, 8\]"):
        ops.lstm(params._replace(recurrent_kernel=draw(3, 8)), x, None)
    with pytest.raises(ValueError, match=r"input_kernel: expected the dtype of x \(bfloat16\), got float32"):
        ops.lstm(params, x.astype(jnp.bfloat16), None)
    with pytest.raises(ValueError, match=r"state.cell: expected \[3, 2\], got \[2, 2\]"):
        ops.lstm(params, x, ops.LSTMState(draw(N, H), draw(2, H)))
    with pytest.raises(ValueError, match=r"where: expected bool \[N, T\], here \[3, 4\], got int32 \[3, 4\]"):
        ops.lstm(params, x, None, where=jnp.ones((N, T), jnp.int32))
    with pytest.raises(ValueError, match="remat_chunk: expected at least 1 step or None, got 0"):
        ops.lstm(params, x, None, remat_chunk=0)
    with pytest.raises(ValueError, match=r"recurrent_mask: expected \[3, 2\], got \[3, 3\]"):
        ops.lstm(params, x, None, recurrent_mask=draw(3, 3))
    with pytest.raises(ValueError, match=r"peepholes: expected \[3, 2\], got \[2, 2\]"):
        ops.lstm(params._replace(peepholes=draw(2, H)), x, None)
    with pytest.raises(ValueError, match="expected None with norms"):
        ops.lstm(params._replace(norms=norms()), x, None)
    with pytest.raises(ValueError, match="activation: expected 'tanh' or 'relu', got 'gelu'"):
        ops.rnn(kind_of("rnn")[0], x, None, activation="gelu")
    video = kind_of("conv lstm")[0]
    with pytest.raises(ValueError, match=r"peepholes: expected \[3, 5, 2, 2\]"):
        ops.conv_lstm(video, draw(N, T, 5, 2, C), None)
    with pytest.raises(ValueError, match=r"recurrent_kernel: expected \[kh, kw, 2, 8\] with odd kh and kw"):
        ops.conv_lstm(video._replace(recurrent_kernel=draw(2, 2, H, 4 * H)), draw(N, T, 4, 2, C), None)
