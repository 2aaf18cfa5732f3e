"""Recipes, schedules and plateau decisions against what torch.optim does."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from reference.record_optimizers import (
    CASES,
    PLATEAUS,
    REFERENCE,
    SCORES,
    STEPS,
    Case,
    problem,
    torch_outputs,
)

from jaxvision import optimizers

SCHEDULES = {
    "step": optimizers.step_schedule(0.4, milestones=[3, 7], gamma=0.3),
    "poly": optimizers.poly_schedule(0.4, steps=10),
    "cosine": optimizers.cosine_schedule(0.4, steps=8, end=0.04),
    "warmup": optimizers.cosine_schedule(0.4, steps=12, warmup_steps=4, warmup_start=0.1),
}


def our_trajectory(case: Case) -> np.ndarray:
    data = {name: jnp.asarray(value) for name, value in problem().items()}
    params = {name: data[name] for name in ("kernel", "bias")}
    schedule = optimizers.step_schedule(case.learning_rate, milestones=case.milestones, gamma=0.3)
    optimizer = optimizers.build_optimizer(
        case.name,
        schedule,
        options=case.options,
        clip_norm=case.clip_norm,
        clip_value=case.clip_value,
        decayed=None,  # torch decays biases too
        **case.build,
    )

    def loss(params: dict[str, jax.Array]) -> jax.Array:
        bias = jnp.broadcast_to(params["bias"][None], data["y"].shape)
        return jnp.mean((data["x"] @ params["kernel"] + bias - data["y"]) ** 2)

    def step(carry: tuple, _: None) -> tuple[tuple, jax.Array]:
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), jnp.concatenate([params["kernel"].ravel(), params["bias"]])

    run = jax.jit(lambda params: jax.lax.scan(step, (params, optimizer.init(params)), None, STEPS)[1])
    return np.asarray(run(params))


def our_scales(scores: list[float], options: dict) -> list[float]:
    state = optimizers.scale_on_plateau().init({})
    observe = jax.jit(lambda state, score: optimizers.observe_score(state, score, **options))
    scales = []
    for score in scores:
        state = observe(state, score)
        scales.append(float(state.scale))
    return scales


def compare_trajectory(name: str, expected: Mapping[str, np.ndarray]) -> None:
    # In float64 the two agree to rounding, so that a misplaced epsilon cannot hide. (In float32 Optax's
    # bias correction 1 - 0.999^t is only good to 6e-5, which Adam shows: 7e-6 after 20 steps.)
    case, theirs = CASES[name], expected[f"trajectory_{name}"]
    with jax.enable_x64(True):
        ours = our_trajectory(case)
    assert ours.dtype == np.float64
    assert np.abs(theirs[-1] - theirs[0]).max() > 1e-3  # it moved
    # torch divides by norm + 1e-6, Optax by the norm.
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9 if case.clip_norm is None else 2e-6)


def compare_schedule(name: str, expected: Mapping[str, np.ndarray]) -> None:
    theirs = expected[f"schedule_{name}"]
    ours = [float(SCHEDULES[name](step)) for step in range(len(theirs))]
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def compare_plateau(scores: str, name: str, expected: Mapping[str, np.ndarray]) -> None:
    ours = our_scales(SCORES[scores], PLATEAUS[name])
    np.testing.assert_allclose(ours, expected[f"plateau_{scores}_{name}"], rtol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_trajectory(name: str) -> None:
    with np.load(REFERENCE / "optimizers.npz") as recorded:
        compare_trajectory(name, recorded)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule(name: str) -> None:
    with np.load(REFERENCE / "optimizers.npz") as recorded:
        compare_schedule(name, recorded)


@pytest.mark.parametrize("name", PLATEAUS)
@pytest.mark.parametrize("scores", SCORES)
def test_plateau(scores: str, name: str) -> None:
    with np.load(REFERENCE / "optimizers.npz") as recorded:
        compare_plateau(scores, name, recorded)


@pytest.mark.parity
def test_live() -> None:
    pytest.importorskip("torch")
    expected = torch_outputs()
    for name in CASES:
        compare_trajectory(name, expected)
    for name in SCHEDULES:
        compare_schedule(name, expected)
    for scores in SCORES:
        for name in PLATEAUS:
            compare_plateau(scores, name, expected)
