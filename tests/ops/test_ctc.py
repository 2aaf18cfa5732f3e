"""CTC decoding against an enumeration of all paths."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxvision.ops import ctc_beam_search, ctc_greedy_decode, sequence_mask


def collapse(path, blank):
    merged = [label for label, _ in itertools.groupby(path)]
    return tuple(label for label in merged if label != blank)


def probabilities(logits, blank):
    """Of each transcript, by summing over all paths ``K ** T``."""
    scores = np.exp(logits - np.logaddexp.reduce(logits, -1, keepdims=True))
    total: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(logits.shape[1]), repeat=logits.shape[0]):
        transcript = collapse(path, blank)
        total[transcript] = total.get(transcript, 0) + math.prod(scores[t, k] for t, k in enumerate(path))
    return total


def draw(steps, count, seed=0, number=1):
    return 2 * np.random.default_rng([seed, steps, count]).normal(size=(number, steps, count)).astype(
        np.float32
    )


def transcripts(found, n):
    """Candidates of one sequence that exist, best first."""
    labels, lengths, scores = (np.asarray(part[n]) for part in found)
    return [
        (tuple(row[:length].tolist()), float(np.exp(score)))
        for row, length, score in zip(labels, lengths, scores, strict=True)
        if score > -np.inf
    ]


greedy_decode = jax.jit(ctc_greedy_decode, static_argnames="blank")
beam_search = jax.jit(ctc_beam_search, static_argnames=("beam_size", "blank", "max_length"))


@pytest.mark.parametrize(("steps", "count", "blank"), [(1, 2, 0), (4, 3, 2), (3, 4, 1)])
def test_a_beam_that_holds_every_transcript_is_exact(steps, count, blank):
    logits = draw(steps, count, number=2)
    found = beam_search(logits, beam_size=200, blank=blank)
    for n in range(2):
        mine = transcripts(found, n)
        wanted = probabilities(logits[n], blank)
        assert len(mine) == len(wanted) == len(dict(mine))
        for labels, probability in mine:
            assert probability == pytest.approx(wanted[labels], rel=1e-4)
        assert [p for _, p in mine] == sorted((p for _, p in mine), reverse=True)
    assert (
        (np.asarray(found.labels) == -1) == (np.arange(steps) >= np.asarray(found.lengths)[..., None])
    ).all()


def beam_of_dicts(logits, size, blank):
    """The same search over a dict of prefixes, in probabilities of paths to a blank and to a label."""
    scores = np.exp(logits.astype(np.float64))
    beam = {(): (1.0, 0.0)}
    for row in scores / scores.sum(-1, keepdims=True):
        new = {}
        for prefix, (by_blank, by_label) in beam.items():
            for k, probability in enumerate(row):
                if k == blank:
                    gains = [(prefix, (by_blank + by_label) * probability, 0.0)]
                elif prefix and k == prefix[-1]:
                    gains = [
                        (prefix, 0.0, by_label * probability),
                        ((*prefix, k), 0.0, by_blank * probability),
                    ]
                else:
                    gains = [((*prefix, k), 0.0, (by_blank + by_label) * probability)]
                for key, blank_gain, label_gain in gains:
                    old = new.get(key, (0.0, 0.0))
                    new[key] = old[0] + blank_gain, old[1] + label_gain
        beam = dict(sorted(new.items(), key=lambda item: -sum(item[1]))[:size])
    return {prefix: sum(pair) for prefix, pair in beam.items()}


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000))
def test_a_small_beam_keeps_what_a_dict_of_prefixes_keeps(seed):
    logits = draw(8, 4, seed)
    mine = dict(transcripts(beam_search(logits, beam_size=4, blank=1), 0))
    wanted = beam_of_dicts(logits[0], 4, 1)
    assert mine == {prefix: pytest.approx(value, rel=1e-4) for prefix, value in wanted.items()}


def test_scores_are_those_that_the_loss_is_of():
    logits = draw(6, 4, number=3)
    found = beam_search(logits, beam_size=400)
    best = np.asarray(found.labels[:, 0])
    loss = optax.ctc_loss(logits, np.zeros((3, 6)), np.maximum(best, 0), (best < 0).astype(np.float32))
    np.testing.assert_allclose(found.log_probabilities[:, 0], -loss, rtol=1e-4)


def test_the_best_transcript_need_not_be_that_of_the_best_path():
    likely = jnp.log(jnp.array([[[0.6, 0.4], [0.6, 0.4]]]))
    greedy = greedy_decode(likely)
    assert greedy.lengths.tolist() == [0]
    assert float(jnp.exp(greedy.log_probabilities[0])) == pytest.approx(0.36)
    assert transcripts(beam_search(likely, beam_size=1), 0) == [((), pytest.approx(0.36))]
    assert transcripts(beam_search(likely, beam_size=2), 0)[0] == ((1,), pytest.approx(0.64))


@pytest.mark.parametrize("blank", [0, 3])
def test_greedy_merges_the_best_path(blank):
    logits = draw(12, 4, number=20)
    lengths = np.arange(20) % 13
    where = sequence_mask(lengths, 12)
    found = greedy_decode(logits, where=where, blank=blank)
    for n, length in enumerate(lengths):
        wanted = collapse(logits[n, :length].argmax(-1), blank)
        assert tuple(found.labels[n, : found.lengths[n]].tolist()) == wanted
        assert (np.asarray(found.labels[n, len(wanted) :]) == -1).all()
        rows = logits[n, :length]
        score = (rows.max(-1) - np.logaddexp.reduce(rows, -1)).sum()
        assert float(found.log_probabilities[n]) == pytest.approx(float(score), abs=1e-4)


def test_padding_is_passed_over():
    logits = draw(5, 3, number=2)
    gaps = np.insert(logits, [1, 3], 50.0, axis=1)  # [2, 7, 3], nonsense at 1 and 4
    where = jnp.asarray([[True, False, True, True, False, True, True]] * 2)
    plain, spread = beam_search(logits, beam_size=8), beam_search(gaps, beam_size=8, where=where)
    for n in range(2):
        (a, p), (b, q) = transcripts(plain, n)[0], transcripts(spread, n)[0]
        assert a == b
        assert p == pytest.approx(q, rel=1e-5)
    greedy, over = greedy_decode(logits), greedy_decode(gaps, where=where)
    np.testing.assert_array_equal(greedy.labels, over.labels[:, :5])
    np.testing.assert_array_equal(greedy.lengths, over.lengths)


def test_no_steps_no_sequences_and_shorter_transcripts():
    none = beam_search(jnp.zeros((2, 3, 4)), beam_size=3, where=jnp.zeros((2, 3), bool))
    assert transcripts(none, 0) == [((), 1.0)]
    assert beam_search(jnp.zeros((0, 3, 4)), beam_size=3).labels.shape == (0, 3, 3)
    assert greedy_decode(jnp.zeros((0, 3, 4))).labels.shape == (0, 3)
    assert greedy_decode(jnp.zeros((2, 0, 4))).lengths.tolist() == [0, 0]
    logits = draw(4, 3)
    found = transcripts(beam_search(logits, beam_size=50, max_length=1), 0)
    truth = probabilities(logits[0], 0)
    assert dict(found) == {key: pytest.approx(truth[key], rel=1e-4) for key in [(), (1,), (2,)]}


def test_errors():
    with pytest.raises(ValueError, match=r"logits: expected \[N, T, K\], got \[3, 4\]"):
        ctc_greedy_decode(jnp.zeros((3, 4)))
    with pytest.raises(ValueError, match="blank: expected from 0 to 3, got 4"):
        ctc_beam_search(jnp.zeros((1, 3, 4)), beam_size=2, blank=4)
    with pytest.raises(ValueError, match="expected at least 1, got 0"):
        ctc_beam_search(jnp.zeros((1, 3, 4)), beam_size=0)
    with pytest.raises(
        ValueError, match=r"where: expected bool \[N, T\], here \[1, 3\], got float32 \[1, 3\]"
    ):
        ctc_greedy_decode(jnp.zeros((1, 3, 4)), where=jnp.ones((1, 3)))
