import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxvision import optimizers

PARAMS = {"backbone": {"kernel": jnp.ones((2, 2))}, "head": {"kernel": jnp.ones((2, 2))}}


def test_found_inside_accumulation_masks_and_chains() -> None:
    optimizer = optimizers.build_optimizer(
        "sgd", 1.0, params=PARAMS, freeze=["backbone"], ema=0.9, accumulate=2, plateau=True
    )
    state = optimizer.init(PARAMS)
    before = jax.tree.structure(state)
    for score in (0.5, 0.5, 0.5):
        state = optimizers.observe_score(state, score, patience=1)
    assert jax.tree.structure(state) == before
    update = jax.jit(optimizer.update)
    for _ in range(2):
        updates, state = update(PARAMS, state, PARAMS)
    np.testing.assert_allclose(updates["head"]["kernel"], -0.5)


def test_nothing_else_changes_and_nothing_is_traced_again() -> None:
    optimizer = optax.chain(optimizers.adam(0.1), optimizers.scale_on_plateau())
    traces = 0

    @jax.jit
    def step(state: tuple) -> tuple:
        nonlocal traces
        traces += 1
        return optimizer.update(PARAMS, state, PARAMS)[1]

    state = step(optimizer.init(PARAMS))
    observed = optimizers.observe_score(state, 0.3, patience=0)
    observed = optimizers.observe_score(observed, np.float64(0.2), patience=0)
    for before, after in zip(jax.tree.leaves(state[0]), jax.tree.leaves(observed[0]), strict=True):
        np.testing.assert_array_equal(before, after)
    assert float(observed[1].scale) == 0.5
    step(observed)
    assert traces == 1


def test_replicated_over_devices() -> None:
    state = optimizers.scale_on_plateau().init({})
    replicated = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (4,)), state)
    for score in (1.0, 0.5):
        replicated = optimizers.observe_score(replicated, score, patience=0)
    assert replicated.scale.tolist() == [0.5] * 4


def test_wrong_arguments_raise() -> None:
    state = optimizers.scale_on_plateau().init({})
    for options, message in (
        ({"mode": "best"}, "mode"),
        ({"threshold_mode": "x"}, "threshold_mode"),
        ({"factor": 1.0}, "factor"),
    ):
        with pytest.raises(ValueError, match=message):
            optimizers.observe_score(state, 1.0, **options)
    with pytest.raises(ValueError, match="holds no PlateauState"):
        optimizers.observe_score(optax.sgd(0.1).init(PARAMS), 1.0)
