import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxvision.training import (
    create_train_state,
    make_rate_range,
    make_train_step,
    rising_schedule,
    run_rate_range,
)
from jaxvision.training.rate_range import smooth


def test_rates_rise_by_one_factor():
    schedule = rising_schedule(1e-4, 1.0, steps=5)
    np.testing.assert_allclose(
        [schedule(step) for step in range(5)], [1e-4, 1e-3, 1e-2, 1e-1, 1.0], rtol=1e-5
    )


@pytest.mark.parametrize("wrong", [(0.0, 1.0, 5), (1.0, 0.1, 5), (0.1, 1.0, 1)])
def test_a_range_must_rise(wrong):
    with pytest.raises(ValueError, match="expected 0 < least < greatest"):
        rising_schedule(*wrong[:2], steps=wrong[2])


def test_the_smoothed_loss_is_a_weighted_mean_of_the_past():
    values = np.random.default_rng(0).normal(size=20)
    weights = 0.9 ** np.arange(20)[::-1]
    assert smooth(values)[-1] == pytest.approx((weights * values).sum() / weights.sum())
    assert smooth([3.0] * 10) == pytest.approx([3.0] * 10)


def test_the_suggestion_is_a_tenth_of_the_best_rate():
    rates = np.geomspace(1e-5, 1.0, 100)
    losses = 3.0 - np.arange(100) / 50
    losses[60:] = 2.0 + np.arange(40)
    found = make_rate_range(rates, losses)
    assert found.suggestion == pytest.approx(rates[np.argmin(found.smoothed)] / 10)
    assert 55 <= np.argmin(found.smoothed) <= 61


def test_a_loss_that_never_fell_suggests_nothing():
    assert make_rate_range([0.1, 0.2, 0.3], [1.0, 2.0, 3.0]).suggestion is None
    with pytest.raises(ValueError, match="expected a finite loss"):
        make_rate_range([], [])


def test_the_test_ends_where_the_loss_explodes(line_task, line_batches, placement):
    """Least squares by gradient descent diverges above 2 / the largest curvature."""
    steps = 200
    schedule = rising_schedule(1e-3, 1e3, steps=steps)
    optimizer = optax.sgd(schedule)
    state = placement.place(create_train_state(line_task, optimizer, seed=0))
    step = placement.compile_step(make_train_step(line_task, optimizer))
    rates = [float(schedule(index)) for index in range(steps)]
    found = run_rate_range(state, step, line_batches * 10, rates)
    inputs = np.concatenate([batch["x"] for batch in line_batches])
    curvature = np.linalg.eigvalsh(2 * inputs.T @ inputs / len(inputs)).max()
    assert len(found.losses) < steps
    assert 0.3 < found.rates[-1] / (2 / curvature) < 10
    assert found.suggestion is not None and found.suggestion < 2 / curvature
    assert min(found.losses) < 0.1 * found.losses[0]


def test_a_loss_that_is_no_number_ends_the_test(line_task, line_batches, placement):
    optimizer = optax.sgd(0.1)
    state = placement.place(create_train_state(line_task, optimizer, seed=0))
    step = placement.compile_step(make_train_step(line_task, optimizer))
    bad = {**line_batches[0], "y": jnp.full(8, jnp.nan)}
    found = run_rate_range(state, step, [*line_batches[:3], jax.device_get(bad)], [0.1] * 10)
    assert len(found.losses) == 3
