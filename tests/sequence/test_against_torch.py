"""Text classifiers, taggers and CRNN with weights shared with PyTorch: scores, losses, gradients."""

import pytest
from oracles.shared_weights import assert_equal, jax_results, recorded, torch_results
from reference.record_sequence import CASES, NETS

# One LSTM behind seven convolutions with batch statistics: a deep network.
TOLERANCE = {"crnn": 1e-4, "crnn more norms": 1e-4}


@pytest.fixture(scope="module")
def reference():
    return recorded("sequence")


@pytest.mark.parametrize("name", NETS)
def test_scores_losses_and_gradients_are_those_of_torch(name, reference):
    ours = jax_results(CASES[name], NETS[name].apply)
    assert_equal(ours, reference[name], TOLERANCE.get(name, 1e-5))


@pytest.mark.parity
@pytest.mark.parametrize("name", NETS)
def test_live_against_torch(name):
    ours = jax_results(CASES[name], NETS[name].apply)
    assert_equal(ours, torch_results(CASES[name]), TOLERANCE.get(name, 1e-5))
