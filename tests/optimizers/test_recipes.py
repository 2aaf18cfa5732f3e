import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxvision import optimizers

PARAMS = {"conv": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}}
OPTIONS = {"adam_then_sgd": {"switch_step": 2, "sgd_factor": 10.0}}


def gradients(step: int) -> dict:
    return jax.tree.map(lambda p: (step + 1.0) * 0.1 * p, PARAMS)


@pytest.mark.parametrize("name", optimizers.RECIPES)
def test_one_trace_and_a_state_of_arrays(name: str) -> None:
    optimizer = optimizers.create(name, optimizers.cosine_schedule(0.1, steps=9), **OPTIONS.get(name, {}))
    traces = 0

    @jax.jit
    def step(params: dict, state: tuple, gradient: dict) -> tuple[dict, tuple]:
        nonlocal traces
        traces += 1
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    params, state = PARAMS, jax.jit(optimizer.init)(PARAMS)
    shapes = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state)
    for index in range(4):
        params, state = step(params, state, gradients(index))
    assert traces == 1
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state) == shapes
    assert float(params["conv"]["bias"][0]) < 1.0


def run(optimizer: optax.GradientTransformation, steps: int) -> list[dict]:
    state, all_updates = optimizer.init(PARAMS), []
    update = jax.jit(optimizer.update)
    for index in range(steps):
        updates, state = update(gradients(index), state, PARAMS)
        all_updates.append(updates)
    return all_updates


def test_adam_then_sgd_is_adam_and_then_fresh_momentum() -> None:
    both = run(optimizers.adam_then_sgd(0.1, switch_step=3, sgd_factor=5.0, decay=0.8), 6)
    adam = run(optimizers.adam(0.1), 3)
    for got, expected in zip(both[:3], adam, strict=True):
        np.testing.assert_allclose(got["conv"]["kernel"], expected["conv"]["kernel"], rtol=1e-6)
    buffer = 0.0
    for index in (3, 4, 5):  # by hand: the buffer starts at zero at the switch
        buffer = 0.8 * buffer + (index + 1.0) * 0.1
        np.testing.assert_allclose(both[index]["conv"]["bias"], -0.1 * 5.0 * buffer, rtol=1e-5)


def test_adam_then_sgd_follows_the_schedule_through_the_switch() -> None:
    schedule = optimizers.step_schedule(1.0, milestones=[2], gamma=0.5)
    optimizer = optimizers.adam_then_sgd(schedule, switch_step=1, sgd_factor=1.0, decay=0.0)
    updates = run(optimizer, 4)
    rates = [
        -float(update["conv"]["bias"][0]) / ((index + 1.0) * 0.1) for index, update in enumerate(updates)
    ]
    np.testing.assert_allclose(rates[1:], [1.0, 0.5, 0.5], rtol=1e-5)


def test_decoupled_decay_skips_what_the_mask_skips() -> None:
    zero = jax.tree.map(jnp.zeros_like, PARAMS)
    optimizer = optimizers.adamw(0.1, weight_decay=0.5, decay_mask=optimizers.decay_mask)
    updates, _ = optimizer.update(zero, optimizer.init(PARAMS), PARAMS)
    np.testing.assert_allclose(updates["conv"]["kernel"], -0.05)
    np.testing.assert_array_equal(updates["conv"]["bias"], 0.0)


def test_unknown_names_and_options() -> None:
    with pytest.raises(ValueError, match=r"unknown optimizer 'nestrov'; close: 'nesterov'; all: sgd, "):
        optimizers.create("nestrov", 0.1)
    with pytest.raises(ValueError, match="close: none"):
        optimizers.create("zzz", 0.1)
    with pytest.raises(TypeError, match="speed"):
        optimizers.create("sgd", 0.1, speed=2)
    with pytest.raises(ValueError, match="switch_step"):
        optimizers.adam_then_sgd(0.1, switch_step=-1, sgd_factor=1.0)
