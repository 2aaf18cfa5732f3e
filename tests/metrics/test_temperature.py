import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from jaxvision.metrics import fit_temperature


def _loss(logits, labels, temperature):
    return -log_softmax(logits / temperature, axis=1)[np.arange(len(labels)), labels].mean()


@pytest.mark.parametrize("scale", [0.3, 1.0, 5.0])
def test_the_temperature_is_that_of_scipy(scale):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 300)
    logits = scale * (rng.normal(size=(300, 5)) + 1.5 * np.eye(5)[labels])
    found = fit_temperature(logits, labels)
    best = minimize_scalar(lambda t: _loss(logits, labels, t), bounds=(0.01, 100), method="bounded")
    assert found == pytest.approx(best.x, rel=1e-3)
    assert _loss(logits, labels, found) <= best.fun + 1e-12


def test_it_undoes_a_scale():
    """Labels drawn from softmax(x) fit logits of 3 x at T = 3."""
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(20_000, 4))
    p = np.exp(log_softmax(logits, axis=1))
    labels = (p.cumsum(1) < rng.random((len(p), 1))).sum(1)
    assert fit_temperature(3 * logits, labels) == pytest.approx(3.0, rel=0.05)


def test_the_bounds_hold_where_all_or_nothing_is_right():
    logits = np.array([[4.0, 0.0], [0.0, 4.0]])
    assert fit_temperature(logits, np.array([0, 1])) == pytest.approx(1e-3)
    assert fit_temperature(logits, np.array([1, 0])) == pytest.approx(1e3)
    assert np.isfinite(fit_temperature(np.array([[800.0, -800.0]]), np.array([1])))


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        (np.zeros((0, 3)), np.zeros(0, int)),
        (np.zeros((2, 3)), np.zeros(3, int)),
        (np.zeros(3), np.zeros(3, int)),
    ],
)
def test_shapes_are_checked(logits, labels):
    with pytest.raises(ValueError, match=r"expected logits \[N, K\] and labels \[N\]"):
        fit_temperature(logits, labels)


def test_nan_is_refused():
    with pytest.raises(ValueError, match="finite"):
        fit_temperature(np.array([[np.nan, 0.0]]), np.array([0]))
