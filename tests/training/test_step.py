import jax
import numpy as np
import optax
import pytest

from jaxvision.training import create_train_state, make_train_step


def test_one_step_is_gradient_descent_on_the_weighted_mean(line_task, line_batches):
    optimizer = optax.sgd(0.1)
    state = create_train_state(line_task, optimizer, seed=0)
    batch = {**line_batches[0], "where": np.arange(8) < 5}
    new, metrics = jax.jit(make_train_step(line_task, optimizer))(state, batch)

    x, y = batch["x"][:5].astype(np.float64), batch["y"][:5].astype(np.float64)
    gradient = -2 * (x * y[:, None]).mean(0)
    np.testing.assert_allclose(new.params["slope"], -0.1 * gradient, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"], (y**2).mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["gradient_norm"], np.linalg.norm(gradient), rtol=1e-5)
    assert int(new.step) == 1
    assert float(new.model_state["statistics"]["seen"]) == 1.0


def test_a_batch_of_padding_only_changes_nothing_but_the_counters(line_task, line_batches):
    optimizer = optax.sgd(0.1)
    state = create_train_state(line_task, optimizer, seed=0)
    new, metrics = jax.jit(make_train_step(line_task, optimizer))(
        state, {**line_batches[0], "where": np.zeros(8, bool)}
    )
    assert float(metrics["loss"]) == 0.0
    np.testing.assert_array_equal(new.params["slope"], state.params["slope"])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_step_that_is_not_finite_changes_nothing(line_task, line_batches, bad):
    optimizer = optax.adam(0.1)
    state = create_train_state(line_task, optimizer, seed=0)
    x = line_batches[0]["x"].copy()
    x[3, 1] = bad
    new, metrics = jax.jit(make_train_step(line_task, optimizer))(state, {**line_batches[0], "x": x})
    assert not bool(metrics["finite"])
    jax.tree.map(np.testing.assert_array_equal, new, state)


def test_given_variables_replace_the_initial_ones(line_task):
    variables = {"params": {"slope": np.float32([1, 2, 3])}, "statistics": {"seen": np.float32(7)}}
    state = create_train_state(line_task, optax.sgd(0.1), seed=0, variables=variables)
    np.testing.assert_array_equal(state.params["slope"], [1, 2, 3])
    assert float(state.variables()["statistics"]["seen"]) == 7.0


def test_the_step_is_traced_once(line_task, line_batches):
    traced = []
    task = line_task._replace(loss=lambda *a: (traced.append(1), line_task.loss(*a))[1])
    optimizer = optax.sgd(0.1)
    step = jax.jit(make_train_step(task, optimizer))
    state = create_train_state(task, optimizer, seed=0)
    for batch in line_batches[:3]:
        state, _ = step(state, batch)
    assert len(traced) == 1


def test_steps_draw_different_numbers_and_a_repeated_step_the_same(line_task, line_batches):
    def loss(params, model_state, batch, key):
        noise = jax.random.normal(key, ())
        terms, _ = line_task.loss(params, model_state, batch, key)
        return terms, {"statistics": {"seen": noise}}

    task = line_task._replace(loss=loss)
    optimizer = optax.sgd(0.0)
    step = jax.jit(make_train_step(task, optimizer))
    state = create_train_state(task, optimizer, seed=0)
    one, _ = step(state, line_batches[0])
    again, _ = step(state, line_batches[0])
    two, _ = step(one, line_batches[0])
    draw = lambda s: float(s.model_state["statistics"]["seen"])  # noqa: E731
    assert draw(one) == draw(again) != draw(two)
