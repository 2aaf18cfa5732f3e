"""Losses of tags and of columns against their definitions: every path is written out."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, logsumexp

from jaxvision.ops import CRFParams
from jaxvision.sequence import TagScores
from jaxvision.tasks.sequence_tagging import tagging_loss
from jaxvision.tasks.text_recognition import NO_CHARACTER, ctc_losses, needed_steps

RNG = np.random.default_rng(0)
SCORES = RNG.normal(size=(3, 3, 2)).astype(np.float32)
LABELS = np.array([[1, 0, 1], [0, 1, 0], [1, 1, 0]], np.int32)
STEPS = np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0]], bool)
COUNTED = np.array([True, True, False])


def test_the_loss_of_tags_is_the_mean_of_a_token():
    found = TagScores(jnp.asarray(SCORES), jnp.asarray(STEPS), None)
    term = jax.jit(tagging_loss)(found, LABELS, where=COUNTED)
    losses = -np.take_along_axis(log_softmax(SCORES, axis=-1), LABELS[..., None], -1)[..., 0]
    expected = losses[:2][STEPS[:2]]
    assert float(term.weight) == 5 and float(term.total) == pytest.approx(expected.sum(), rel=1e-5)


def test_the_loss_of_a_path_is_that_of_all_paths_written_out():
    transitions, start, end = (RNG.normal(size=shape).astype(np.float32) for shape in ((2, 2), 2, 2))
    crf = CRFParams(transitions=transitions, start=start, end=end)

    def score(row, path):
        steps = sum(SCORES[row, t, tag] for t, tag in enumerate(path))
        return (
            steps
            + start[path[0]]
            + end[path[-1]]
            + sum(transitions[a, b] for a, b in itertools.pairwise(path))
        )

    expected = 0.0
    for row, length in ((0, 3), (1, 2)):
        every = [score(row, path) for path in itertools.product(range(2), repeat=length)]
        expected += logsumexp(every) - score(row, LABELS[row, :length])
    term = jax.jit(tagging_loss)(
        TagScores(jnp.asarray(SCORES), jnp.asarray(STEPS), crf), LABELS, where=COUNTED
    )
    assert float(term.weight) == 5 and float(term.total) == pytest.approx(expected, rel=1e-5)


def _reads(path):
    """What a path of columns says: equal neighbours are one, blanks are nothing."""
    return [label for label, _ in itertools.groupby(path) if label]


def test_the_loss_of_columns_is_that_of_all_paths_written_out():
    logits = RNG.normal(size=(4, 4, 3)).astype(np.float32)
    labels = np.array([[1, 2], [2, 2], [1, NO_CHARACTER], [NO_CHARACTER, NO_CHARACTER]], np.int32)
    logs, expected = log_softmax(logits, axis=-1), []
    for row, wanted in enumerate(labels):
        wanted = [label for label in wanted if label != NO_CHARACTER]
        paths = [p for p in itertools.product(range(3), repeat=4) if _reads(p) == wanted]
        expected.append(-logsumexp([sum(logs[row, t, label] for t, label in enumerate(p)) for p in paths]))
    np.testing.assert_allclose(jax.jit(ctc_losses)(logits, labels), expected, rtol=1e-4)


def test_the_columns_that_a_text_needs():
    assert [
        needed_steps(np.array(labels, np.int32)) for labels in ([], [1], [1, 2], [1, 1], [1, 1, 1, 2])
    ] == [
        *(0, 1, 2, 3),
        6,
    ]
    too_long = jax.jit(ctc_losses)(np.zeros((1, 2, 3), np.float32), np.array([[1, 1]], np.int32))
    assert float(too_long[0]) > 1e4, "three columns are needed"
