import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision import optimizers

OPTIONS = {
    "constant": {},
    "step": {"milestones": [3, 6]},
    "poly": {"steps": 10},
    "cosine": {"steps": 10, "warmup_steps": 3},
}


@pytest.mark.parametrize("name", optimizers.SCHEDULES)
def test_traced_steps_equal_python_steps(name: str) -> None:
    schedule = optimizers.create_schedule(name, 0.3, **OPTIONS[name])
    traced = jax.jit(jax.vmap(schedule))(jnp.arange(12))
    np.testing.assert_allclose(traced, [float(schedule(step)) for step in range(12)], rtol=1e-5, atol=1e-8)
    assert float(jnp.max(traced)) == pytest.approx(0.3)


def test_poly_formula() -> None:
    schedule = optimizers.poly_schedule(0.5, steps=100, power=0.9, end=0.1)
    for step in (0, 1, 50, 99, 100, 1000):
        expected = 0.4 * (1 - min(step, 100) / 100) ** 0.9 + 0.1
        assert float(schedule(step)) == pytest.approx(expected, rel=1e-5)


def test_cosine_formula_after_the_warmup() -> None:
    schedule = optimizers.cosine_schedule(2.0, steps=20, warmup_steps=5, warmup_start=0.2, end=0.1)
    for step in range(25):
        if step < 5:
            expected = 2.0 * (0.2 + 0.8 * step / 5)
        else:
            expected = 0.1 + 0.95 * (1 + np.cos(np.pi * (min(step, 20) - 5) / 15))
        assert float(schedule(step)) == pytest.approx(expected, rel=1e-5)


def test_a_rate_of_zero_stays_zero() -> None:
    schedule = optimizers.cosine_schedule(0.0, steps=4, warmup_steps=1)
    assert [float(schedule(step)) for step in range(5)] == [0.0] * 5
    with pytest.raises(ValueError, match="end: got"):
        optimizers.cosine_schedule(0.0, steps=4, end=0.1)


def test_wrong_arguments_raise() -> None:
    with pytest.raises(ValueError, match="unknown schedule 'cosin'; close: 'cosine'"):
        optimizers.create_schedule("cosin", 0.1)
    with pytest.raises(ValueError, match="rising"):
        optimizers.step_schedule(0.1, milestones=[5, 3])
    for make in (optimizers.poly_schedule, optimizers.cosine_schedule):
        with pytest.raises(ValueError, match="steps"):
            make(0.1, steps=0)
    with pytest.raises(ValueError, match="warmup_steps"):
        optimizers.cosine_schedule(0.1, steps=5, warmup_steps=5)
    with pytest.raises(TypeError, match="steps"):
        optimizers.create_schedule("poly", 0.1)
