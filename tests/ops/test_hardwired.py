"""Hard-wired channels: the paper's 33 maps, gradients of ramps, the flow of patterns that move."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxvision.ops import hardwired_channels, lucas_kanade_flow, stack_hardwired


def moving_pattern(velocity, *, frames=3, size=(40, 48)):
    """Smooth gray values in [0, 1] that move by ``velocity`` (right, down) a frame, ``[1, T, H, W, 1]``."""
    time, row, column = np.meshgrid(*map(np.arange, (frames, *size)), indexing="ij")
    x, y = column - velocity[0] * time, row - velocity[1] * time
    waves = np.sin(0.35 * x + 0.1 * y) + np.sin(0.4 * y - 0.15 * x) + 0.5 * np.sin(0.25 * (x + y))
    return jnp.asarray(0.5 + 0.2 * waves, jnp.float32)[None, ..., None]


@pytest.mark.parametrize("velocity", [(0.5, 0.0), (0.0, -0.5), (1.0, 0.0), (-0.7, 0.6), (1.0, 1.0)])
def test_the_flow_of_a_moving_pattern_is_its_velocity(velocity):
    flow = jax.jit(lucas_kanade_flow)(moving_pattern(velocity))
    assert flow.shape == (1, 2, 40, 48, 2)
    inside = np.asarray(flow)[:, :, 4:-4, 4:-4]
    error = np.hypot(*np.moveaxis(inside - np.asarray(velocity), -1, 0))
    assert np.median(error) < 0.04 * np.hypot(*velocity)
    assert np.quantile(error, 0.95) < 0.1 * np.hypot(*velocity)


def test_the_flow_is_zero_between_equal_frames_and_in_even_areas():
    still = jnp.repeat(moving_pattern((0.0, 0.0), frames=1), 3, axis=1)
    np.testing.assert_array_equal(jax.jit(lucas_kanade_flow)(still), np.zeros((1, 2, 40, 48, 2)))
    brighter = jnp.stack([jnp.full((1, 8, 8, 1), 0.2), jnp.full((1, 8, 8, 1), 0.9)], axis=1)
    np.testing.assert_array_equal(jax.jit(lucas_kanade_flow)(brighter), np.zeros((1, 1, 8, 8, 2)))


def test_the_flow_solves_the_least_squares_problem_of_its_window():
    frames = jnp.asarray(np.random.default_rng(0).uniform(size=(1, 2, 9, 8, 1)), jnp.float32)
    flow = np.asarray(jax.jit(lambda x: lucas_kanade_flow(x, window=3, regularization=0.01))(frames))
    first, second = np.asarray(frames, np.float64)[0, ..., 0]
    padded = np.pad((first + second) / 2, 1, mode="edge")
    gradients = [(padded[1:-1, 2:] - padded[1:-1, :-2]) / 2, (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2]
    for row, column in ((4, 3), (0, 0), (8, 5)):
        near = (slice(max(row - 1, 0), row + 2), slice(max(column - 1, 0), column + 2))
        matrix = np.stack([gradient[near].ravel() for gradient in gradients], 1)
        change = (second - first)[near].ravel()
        ridge = 0.01 * len(change) * np.eye(2)
        expected = -np.linalg.solve(matrix.T @ matrix + ridge, matrix.T @ change)
        np.testing.assert_allclose(flow[0, 0, row, column], expected, rtol=1e-4)


def test_gradients_are_the_slopes_of_a_ramp():
    row, column = np.meshgrid(np.arange(6.0), np.arange(7.0), indexing="ij")
    frames = jnp.asarray(3 * column - 2 * row, jnp.float32)[None, None, ..., None]
    channels = jax.jit(hardwired_channels)(frames)
    np.testing.assert_allclose(channels.gradient_x[0, 0, :, 1:-1, 0], np.full((6, 5), 3.0))
    np.testing.assert_allclose(channels.gradient_y[0, 0, 1:-1, :, 0], np.full((4, 7), -2.0))
    np.testing.assert_allclose(channels.gradient_x[0, 0, :, 0, 0], np.full(6, 1.5))
    assert channels.flow_x.shape == (1, 0, 6, 7, 1)


def test_the_33_maps_of_7_frames_are_in_the_papers_order():
    frames = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 7, 6, 5, 3)), jnp.float32)
    channels = jax.jit(hardwired_channels)(frames)
    assert [channel.shape[1] for channel in channels] == [7, 7, 7, 6, 6]
    maps = stack_hardwired(channels)
    assert maps.shape == (2, 6, 5, 33)
    luma = np.asarray(frames) @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(maps[..., 3], luma[:, 3], rtol=1e-5)
    for start, channel in zip((0, 7, 14, 21, 27), channels, strict=True):
        np.testing.assert_array_equal(maps[..., start + 5], channel[:, 5, ..., 0])


def test_derivatives_map_and_empty_batch():
    frames = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 2, 4, 5, 1)), jnp.float32)
    flow = jax.jit(lambda x: lucas_kanade_flow(x, window=3, regularization=0.1))
    gradient = jax.jit(jax.grad(lambda x: jnp.sin(lucas_kanade_flow(x, window=3, regularization=0.1)).sum()))
    check_grads(flow, (frames,), 1, modes=("rev",), atol=0.02, rtol=0.02, eps=1e-2)
    check_grads(gradient, (frames,), 1, modes=("fwd",), atol=0.05, rtol=0.05, eps=1e-2)
    mapped = jax.vmap(flow)(frames[:, None])
    np.testing.assert_allclose(mapped[:, 0], flow(frames), atol=1e-6)
    empty = jax.eval_shape(hardwired_channels, frames[:0])
    assert all(channel.shape[0] == 0 for channel in empty)


def test_dtypes():
    frames = moving_pattern((0.5, 0.0), frames=2)
    run = jax.jit(lucas_kanade_flow)
    exact, half = run(frames), run(frames.astype(jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    assert float(jnp.median(jnp.abs(half.astype(jnp.float32) - exact))) < 0.05
    with jax.enable_x64(True):
        assert run(jnp.asarray(np.asarray(frames), jnp.float64)).dtype == jnp.float64


def test_errors():
    frames = jnp.zeros((1, 2, 4, 4, 2))
    with pytest.raises(ValueError, match=r"frames: expected 1 or 3 channels, got \[1, 2, 4, 4, 2\]"):
        hardwired_channels(frames)
    with pytest.raises(ValueError, match=r"frames: expected \[N, T, H, W, 1\], got"):
        lucas_kanade_flow(frames)
    with pytest.raises(ValueError, match="window: expected an odd number of pixels, got 4"):
        lucas_kanade_flow(frames[..., :1], window=4)
    with pytest.raises(ValueError, match="regularization: expected a positive number, got 0"):
        lucas_kanade_flow(frames[..., :1], regularization=0)
    with pytest.raises(ValueError, match="frames: expected a floating dtype, got uint8; cast it first"):
        hardwired_channels(jnp.zeros((1, 2, 4, 4, 3), jnp.uint8))
