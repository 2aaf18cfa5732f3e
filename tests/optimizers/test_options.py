import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.optimizers import OptimizerOptions, ema_params

PARAMS = {"backbone": {"kernel": jnp.ones((2, 2))}, "head": {"kernel": jnp.ones((2, 2))}}


def _one_update(options, *, steps=10, layers=()):
    optimizer, _ = options.build(PARAMS, steps=steps, layers=layers)
    gradients = jax.tree.map(jnp.ones_like, PARAMS)
    updates, state = optimizer.update(gradients, optimizer.init(PARAMS), PARAMS)
    return jax.tree.map(lambda u: float(u[0, 0]), updates), state


def test_groups_and_freezing_reach_the_optimizer():
    options = OptimizerOptions(
        name="sgd", learning_rate=0.1, schedule="constant", rates=(("head", 10.0),), freeze=("backbone",)
    )
    updates, _ = _one_update(options)
    assert updates["backbone"]["kernel"] == 0.0
    assert updates["head"]["kernel"] == pytest.approx(-1.0)


def test_the_logged_rate_is_that_of_the_update():
    options = OptimizerOptions(name="sgd", learning_rate=1.0, schedule="poly", power=1.0, accumulate=2)
    _, rate = options.build(PARAMS, steps=20)
    assert [rate(step) for step in (0, 1, 2, 19)] == pytest.approx([1.0, 1.0, 0.9, 0.1])


def test_adam_then_sgd_changes_in_the_middle():
    options = OptimizerOptions(name="adam_then_sgd", learning_rate=0.1, schedule="constant")
    optimizer, _ = options.build(PARAMS, steps=4)
    gradients = jax.tree.map(lambda p: 3.0 * p, PARAMS)
    state, sizes = optimizer.init(PARAMS), []
    for _ in range(4):
        updates, state = optimizer.update(gradients, state, PARAMS)
        sizes.append(float(updates["head"]["kernel"][0, 0]))
    assert sizes == pytest.approx([-0.1, -0.1, -3.0, -5.7], rel=1e-4)


def test_the_average_is_kept():
    _, state = _one_update(OptimizerOptions(ema=0.9))
    assert ema_params(state, PARAMS)["head"]["kernel"].shape == (2, 2)


def test_a_plateau_halves_the_rate_only_where_asked_for():
    options = OptimizerOptions(name="sgd", learning_rate=0.1, schedule="constant", plateau=0)
    optimizer, _ = options.build(PARAMS, steps=10)
    state = optimizer.init(PARAMS)
    for score in (0.5, 0.4):
        state = options.observe(state, score)
    updates, _ = optimizer.update(PARAMS, state, PARAMS)
    np.testing.assert_allclose(updates["head"]["kernel"], -0.05, rtol=1e-6)
    assert OptimizerOptions().observe("any state", 0.1) == "any state"


def test_a_layer_decay_scales_each_layer_and_a_given_rate_wins():
    layers = [["backbone"], ["head"]]
    options = {"name": "sgd", "learning_rate": 1.0, "schedule": "constant", "layer_decay": 0.25}
    updates, _ = _one_update(OptimizerOptions(**options), layers=layers)
    assert (updates["backbone"]["kernel"], updates["head"]["kernel"]) == (-0.25, -1.0)
    updates, _ = _one_update(OptimizerOptions(**options, rates=(("backbone", 0.5),)), layers=layers)
    assert (updates["backbone"]["kernel"], updates["head"]["kernel"]) == (-0.5, -1.0)


def test_another_schedule_may_take_the_place_of_the_named_one():
    optimizer, rate = OptimizerOptions(name="sgd").build(PARAMS, steps=10, schedule=lambda step: 0.5 + step)
    updates, _ = optimizer.update(PARAMS, optimizer.init(PARAMS), PARAMS)
    np.testing.assert_allclose(updates["head"]["kernel"], -0.5)
    assert rate(2) == 2.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "adamm"}, "unknown optimizer"),
        ({"schedule": "cosin"}, "unknown schedule"),
        ({"warmup_steps": 10}, r"expected a number in \[0, 10\)"),
        ({"accumulate": 0}, "accumulate"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        OptimizerOptions(**options).build(PARAMS, steps=10)
