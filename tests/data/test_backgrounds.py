import numpy as np
import pytest

from jaxvision.data import backgrounds


@pytest.mark.parametrize("make", [backgrounds.gradient, backgrounds.stripes])
def test_patterns_stay_in_range_and_vary(make):
    for seed in range(20):
        pattern = make(np.random.default_rng(seed), (20, 30))
        assert pattern.shape == (20, 30)
        assert pattern.dtype == np.float32
        assert -1.0001 <= pattern.min() < -0.5
        assert 0.5 < pattern.max() <= 1.0001


def test_smooth_noise_is_smooth():
    noise = backgrounds.smooth_noise(np.random.default_rng(0), (64, 48), 3)
    assert noise.shape == (64, 48)
    assert np.ptp(noise) > 0.3
    assert np.abs(np.diff(noise, axis=0)).max() < 0.2


def test_random_colour_has_the_asked_brightness():
    for seed in range(20):
        colour = backgrounds.random_colour(np.random.default_rng(seed), 128.0)
        assert backgrounds.luminance(colour) == pytest.approx(128, abs=0.01)
    assert backgrounds.random_colour(np.random.default_rng(0), 255.0).max() <= 255


def test_texture_strength_zero_is_flat():
    flat = backgrounds.textured(np.random.default_rng(0), (16, 16), strength=0.0)
    assert np.ptp(flat.reshape(-1, 3), axis=0).max() == 0
    assert np.ptp(backgrounds.textured(np.random.default_rng(0), (16, 16), strength=1.0)) > 0


def test_clutter_draws_on_a_copy():
    image = np.full((40, 40, 3), 128, np.float32)
    drawn = backgrounds.draw_clutter(np.random.default_rng(0), image, amount=5)
    assert (image == 128).all()
    assert (drawn != 128).any()
    assert backgrounds.draw_clutter(np.random.default_rng(0), image, amount=0) is image
