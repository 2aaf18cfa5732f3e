"""Counts of spans against a reading of the tags one after the other, as conlleval does it."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxvision.metrics import SpanCounts, read_span_tags, span_counts, span_scores

TAGS = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
SPANS = read_span_tags(TAGS)
T = 7
count = jax.jit(lambda tags, predictions, where: span_counts(tags, predictions, SPANS, where=where))


def spans_of(tags):
    """(type, first, behind the last) of each span, token by token."""
    found, begin, kind = [], None, None
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, name = tag.partition("-")
        # conlleval: a chunk ends at O, at B or where the type changes; it starts at B, or I after that.
        if kind is not None and (prefix in ("O", "B") or name != kind):
            found.append((kind, begin, place))
            kind = None
        if prefix != "O" and kind is None:
            begin, kind = place, name
    return set(found)


def padded(rows):
    array = np.full((len(rows), T), 4, np.int32)
    for line, row in zip(array, rows, strict=True):
        line[: len(row)] = row
    return jnp.asarray(array)


@st.composite
def sentences(draw):
    rows = []
    for _ in range(3):
        length = draw(st.integers(0, T))
        row = st.lists(st.integers(0, 4), min_size=length, max_size=length)
        truth = draw(row)
        # Half of the predictions are near the truth, so that spans are hit.
        rows.append((truth, draw(st.one_of(row, st.just(truth)))))
    return rows


@settings(max_examples=60, deadline=None)
@given(sentences())
def test_counts_are_those_of_the_program_of_the_task(rows):
    where = np.zeros((3, T), bool)
    wanted = {"LOC": [0, 0, 0], "PER": [0, 0, 0]}
    for n, (truth, guess) in enumerate(rows):
        where[n, : len(truth)] = True
        true, predicted = (spans_of([TAGS[tag] for tag in row]) for row in (truth, guess))
        for place, spans in enumerate((true & predicted, predicted, true)):
            for kind, _, _ in spans:
                wanted[kind][place] += 1
    found = count(padded([t for t, _ in rows]), padded([g for _, g in rows]), jnp.asarray(where))
    assert SPANS.types == ("LOC", "PER")
    assert np.stack(found, 1).tolist() == [wanted["LOC"], wanted["PER"]]


def test_scores_of_counts():
    scores = span_scores(SpanCounts(np.array([1, 0, 0]), np.array([2, 0, 0]), np.array([4, 3, 0])))
    np.testing.assert_allclose(scores.precision, [0.5, 0, np.nan])
    np.testing.assert_allclose(scores.recall, [0.25, 0, np.nan])
    np.testing.assert_allclose(scores.f1, [1 / 3, 0, np.nan])


def test_tags_that_have_no_spans():
    assert read_span_tags(["NN", "O"]) is None
    assert read_span_tags(["O"]) is None
    assert read_span_tags(["E-PER", "O"]) is None
    assert read_span_tags(["B-a-b"]).types == ("a-b",)
