"""Drawn tokens: their frequencies, temperature, top-k, bans, and a text gone on with token by token."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from jaxvision.sequence import LanguageModel, draw_tokens, sample_tokens

LOGITS = np.array([0.3, -1.0, 2.0, 1.0, 0.0], np.float32)
DRAWS = 4000


def _frequencies(**options):
    rows = jnp.tile(LOGITS[None], (DRAWS, 1))
    return np.bincount(draw_tokens(jax.random.key(0), rows, **options), minlength=5) / DRAWS


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_frequencies_are_the_softmax_of_the_divided_logits(temperature):
    found = _frequencies(temperature=temperature)
    np.testing.assert_allclose(found, softmax(LOGITS / temperature), atol=0.03)  # 4 standard deviations


def test_top_k_draws_among_the_most_likely_that_are_not_banned():
    wanted = np.zeros(5)
    wanted[[0, 3]] = softmax(LOGITS[[0, 3]])
    np.testing.assert_allclose(_frequencies(top_k=2, banned=(2,)), wanted, atol=0.03)
    np.testing.assert_allclose(_frequencies(top_k=99), softmax(LOGITS), atol=0.03)


def test_temperature_zero_takes_the_most_likely():
    assert _frequencies(temperature=0.0)[2] == 1
    assert _frequencies(temperature=0.0, banned=(2,))[3] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1.0}, "temperature: expected 0 or more"),
        ({"top_k": 0}, "top_k: expected at least 1"),
        ({"banned": (5,)}, "banned: expected some of the tokens 0 to 4"),
        ({"banned": (0, 1, 2, 3, 4)}, "banned: expected some of the tokens 0 to 4, not all"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        draw_tokens(jax.random.key(0), jnp.asarray(LOGITS[None]), **options)


def _model():
    model = LanguageModel(7, features=5, num_layers=1, init_scale=1.0)
    return model, jax.jit(lambda key: model.init(key, jnp.zeros((1, 1), jnp.int32), train=False))(
        jax.random.key(1)
    )


def test_the_most_likely_text_is_that_of_whole_passes():
    """Each token is the argmax after a pass over all before it, without any state kept."""
    model, variables = _model()
    prompt = jnp.array([[1, 2, 3], [6, 0, 5]])
    found = sample_tokens(model, variables, jax.random.key(0), prompt, length=3, temperature=0.0)
    run = jax.jit(lambda text: model.apply(variables, text, train=False)[0])
    text = prompt
    for _ in range(3):
        text = jnp.concatenate([text, run(text)[:, -1:].argmax(-1)], 1)
    np.testing.assert_array_equal(found, text[:, 3:])
    assert found.dtype == jnp.int32


def test_rows_and_keys_draw_differently_and_equal_keys_alike():
    model, variables = _model()
    prompt = jnp.zeros((2, 1), jnp.int32)
    draw = jax.jit(lambda key: sample_tokens(model, variables, key, prompt, length=30, banned=(4,)))
    one, same, other = (np.asarray(draw(jax.random.key(seed))) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert (one[0] != one[1]).any() and (one != other).any()
    assert 4 not in one and {*one.ravel()} <= {*range(7)}


def test_a_text_needs_a_begin():
    model, variables = _model()
    with pytest.raises(ValueError, match="prompt: got no token"):
        sample_tokens(model, variables, jax.random.key(0), jnp.zeros((1, 0), jnp.int32), length=1)
    with pytest.raises(ValueError, match="length: expected 0 tokens or more"):
        sample_tokens(model, variables, jax.random.key(0), jnp.zeros((1, 1), jnp.int32), length=-1)
