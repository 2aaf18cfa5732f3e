import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxvision import optimizers

PARAMS = {"conv": {"kernel": jnp.full((2, 2), 2.0, jnp.float32), "bias": jnp.full(2, 2.0, jnp.float32)}}
EVERYTHING = {
    "clip_value": 1.0,
    "clip_norm": 1.0,
    "l1": 0.01,
    "l2": 0.01,
    "weight_decay": 0.01,
    "rates": {"conv/bias": 2.0},
    "freeze": ["conv/kernel"],
    "plateau": True,
    "ema": 0.9,
    "ema_ramp": True,
    "accumulate": 2,
}


def tree(kernel: float, bias: float) -> dict:
    return {"conv": {"kernel": jnp.full((2, 2), kernel), "bias": jnp.full(2, bias)}}


@pytest.mark.parametrize("name", optimizers.RECIPES)
def test_everything_at_once_is_one_trace_and_arrays_only(name: str) -> None:
    options = {"switch_step": 1, "sgd_factor": 1.0} if name == "adam_then_sgd" else {}
    optimizer = optimizers.build_optimizer(
        name, optimizers.poly_schedule(0.1, steps=9), params=PARAMS, options=options, **EVERYTHING
    )
    traces = 0

    @jax.jit
    def step(params: dict, state: tuple) -> tuple[dict, tuple]:
        nonlocal traces
        traces += 1
        updates, state = optimizer.update(tree(1.0, 1.0), state, params)
        return optax.apply_updates(params, updates), state

    params, state = PARAMS, jax.jit(optimizer.init)(PARAMS)
    for _ in range(4):
        params, state = step(params, state)
        state = optimizers.observe_score(state, 0.5)
    assert traces == 1
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))
    assert float(params["conv"]["bias"][0]) < 2.0


def test_order_clip_then_penalty_then_rate() -> None:
    optimizer = optimizers.build_optimizer(
        "sgd", 0.5, clip_value=3.0, clip_norm=1.0, l1=0.2, l2=0.1, weight_decay=0.3
    )
    updates, _ = optimizer.update(tree(100.0, 0.0), optimizer.init(PARAMS), PARAMS)
    # 100 -> 3 by value; four of them have the norm 6, so -> 0.5; + 0.2 sign(p) + 0.1 p; + 0.3 p; times -0.5.
    np.testing.assert_allclose(updates["conv"]["kernel"], -0.5 * (0.5 + 0.2 + 0.2 + 0.6), rtol=1e-6)
    np.testing.assert_array_equal(updates["conv"]["bias"], 0.0)


def test_accumulation_is_the_step_of_the_mean_gradient() -> None:
    options = {"clip_norm": 1.0, "ema": 0.5}
    large = optimizers.build_optimizer("adam", optimizers.step_schedule(0.1, milestones=[1]), **options)
    small = optimizers.build_optimizer(
        "adam", optimizers.step_schedule(0.1, milestones=[1]), accumulate=3, **options
    )
    expected, state = PARAMS, large.init(PARAMS)
    got, small_state = PARAMS, small.init(PARAMS)
    update = jax.jit(small.update)
    for _ in range(2):
        updates, state = large.update(tree(2.0, -1.0), state, expected)
        expected = optax.apply_updates(expected, updates)
        for part in ((1.0, -3.0), (2.0, 0.0), (3.0, 0.0)):
            updates, small_state = update(tree(*part), small_state, got)
            got = optax.apply_updates(got, updates)
    for name in ("kernel", "bias"):
        np.testing.assert_allclose(got["conv"][name], expected["conv"][name], rtol=1e-6)
        averages = [optimizers.ema_params(s, PARAMS)["conv"][name] for s in (small_state, state)]
        np.testing.assert_allclose(*averages, rtol=1e-6)


def test_average_by_hand_and_its_ramp() -> None:
    for ramp, decays in ((False, [0.9, 0.9, 0.9]), (True, [1 / 10, 2 / 11, 3 / 12])):
        optimizer = optimizers.build_optimizer("sgd", 1.0, ema=0.9, ema_ramp=ramp)
        params, state = PARAMS, optimizer.init(PARAMS)
        average = value = 2.0
        for decay in decays:
            updates, state = optimizer.update(tree(1.0, 1.0), state, params)
            params = optax.apply_updates(params, updates)
            value -= 1.0
            average = decay * average + (1 - decay) * value
        got = optimizers.ema_params(state, params)
        np.testing.assert_allclose(got["conv"]["kernel"], average, rtol=1e-5)


def test_average_keeps_its_own_buffers_and_float32() -> None:
    params = {"kernel": jnp.ones((2, 2), jnp.bfloat16), "bias": jnp.ones(2)}
    optimizer = optimizers.track_average(0.9)
    state = optimizer.init(params)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.average)} == {jnp.dtype("float32")}
    assert optimizers.ema_params(state, params)["kernel"].dtype == jnp.bfloat16

    def step(params: dict, state: tuple) -> tuple[dict, tuple]:
        updates, state = optimizer.update(params, state, params)
        return optax.apply_updates(params, updates), state

    # Donating a buffer twice is an error: parameters and average must be different arrays.
    params, state = jax.jit(step, donate_argnums=(0, 1))(params, state)
    np.testing.assert_allclose(state.average["bias"], 0.9 * 1.0 + 0.1 * 2.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"freeze": ["conv"]}, "need params"),
        ({"params": PARAMS, "freeze": ["cnv"]}, "close paths: 'conv'"),
        ({"params": PARAMS, "rates": {"head": 2.0}}, "'head' matches no parameter"),
        ({"clip_norm": 0.0}, "clip_norm: expected a number > 0"),
        ({"clip_value": -1.0}, "clip_value: expected a number > 0"),
        ({"accumulate": 0}, "accumulate"),
        ({"ema": 1.0}, "decay"),
    ],
)
def test_wrong_arguments_raise(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        optimizers.build_optimizer("sgd", 0.1, **options)


def test_no_average_is_an_error() -> None:
    with pytest.raises(ValueError, match="holds 0 averages"):
        optimizers.ema_params(optax.sgd(0.1).init(PARAMS), PARAMS)
    state = optimizers.track_average(0.9).init(PARAMS)
    with pytest.raises(ValueError, match="holds 2 averages"):
        optimizers.ema_params((state, state), PARAMS)
    with pytest.raises(ValueError, match="params"):
        optimizers.track_average(0.9).update(PARAMS, state)
