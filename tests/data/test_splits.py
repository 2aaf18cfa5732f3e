import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold

from jaxvision.data import ArrayImages, Subset, stratified_folds, stratified_split

IMAGES = np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
SOURCE = ArrayImages(IMAGES, np.array([0, 1, 2, 1, 0]), class_names=("a", "b", "c"))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_subset_gives_its_records_in_its_order():
    subset = Subset(SOURCE, np.array([3, 0, 3]))
    assert len(subset) == 3
    assert subset.class_names == ("a", "b", "c")
    assert subset.num_classes == 3
    assert subset.labels.tolist() == [1, 0, 1]
    assert [int(subset[index]["image"][0, 0, 0]) for index in (0, 1, 2, -1)] == [3, 0, 3, 3]
    with pytest.raises(IndexError):
        subset[3]
    assert Subset(subset, np.array([1]))[0]["name"] == "0"


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        (np.array([0, 5]), r"indices: got 0 to 5 of a source of 5 records, expected 0\.\.4"),
        (np.array([-1]), "indices: got -1 to -1"),
        (np.array([], int), "n > 0"),
        (np.array([True, False]), r"indices: got bool \[2\], expected integers"),
        (np.array([[1]]), r"indices: got int64 \[1, 1\]"),
    ],
)
def test_bad_positions_are_named(indices, message):
    with pytest.raises(ValueError, match=message):
        Subset(SOURCE, indices)


classes = st.lists(st.integers(2, 30), min_size=1, max_size=6)


def make_labels(sizes: list[int], seed: int) -> np.ndarray:
    return rng(seed).permutation(np.repeat(np.arange(len(sizes)) * 7, sizes))


@settings(max_examples=50, deadline=None)
@given(sizes=classes, fraction=st.floats(0.01, 0.99), seed=st.integers(0, 99))
def test_a_split_takes_its_share_of_each_class(sizes, fraction, seed):
    labels = make_labels(sizes, seed)
    first, second = stratified_split(labels, fraction, rng=rng(seed))
    assert np.sort(np.concatenate([first, second])).tolist() == list(range(len(labels)))
    assert (np.diff(first) > 0).all()
    assert (np.diff(second) > 0).all()
    for label, size in enumerate(sizes):
        taken = (labels[second] == 7 * label).sum()
        assert 1 <= taken < size
        assert abs(taken - fraction * size) <= 0.5 or taken in (1, size - 1)


def test_splits_follow_the_generator():
    labels = make_labels([20, 20], 0)
    np.testing.assert_array_equal(
        stratified_split(labels, 0.3, rng=rng(1))[1], stratified_split(labels, 0.3, rng=rng(1))[1]
    )
    assert (
        stratified_split(labels, 0.3, rng=rng(1))[1].tolist()
        != stratified_split(labels, 0.3, rng=rng(2))[1].tolist()
    )


@settings(max_examples=50, deadline=None)
@given(sizes=st.lists(st.integers(5, 30), min_size=1, max_size=6), folds=st.integers(2, 5))
def test_folds_have_the_properties_of_scikit_learns(sizes, folds):
    labels = make_labels(sizes, folds)
    ours = stratified_folds(labels, folds, rng=rng())
    theirs = list(StratifiedKFold(folds, shuffle=True, random_state=0).split(labels, labels))
    assert len(ours) == folds
    assert np.sort(np.concatenate([second for _, second in ours])).tolist() == list(range(len(labels)))
    for first, second in ours:
        assert np.sort(np.concatenate([first, second])).tolist() == list(range(len(labels)))
    for label in np.unique(labels):
        counts = [int((labels[second] == label).sum()) for _, second in ours]
        assert max(counts) - min(counts) <= 1
        # Which folds get one more is free; how many do is not.
        assert sorted(counts) == sorted(int((labels[second] == label).sum()) for _, second in theirs)
    lengths = [len(second) for _, second in ours]
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: stratified_folds(np.array([0, 0, 0, 4, 4, 9]), 3, rng=rng()),
            "class 4 has 2, class 9 has 1, expected at least 3 members of each class for the folds",
        ),
        (
            lambda: stratified_folds(np.array([0, 0, 0, 1]), 2, rng=rng(), class_names=("cat", "dog")),
            "labels: class dog has 1, expected at least 2",
        ),
        (lambda: stratified_folds(np.array([0, 0]), 1, rng=rng()), "folds: got 1, expected at least 2"),
        (lambda: stratified_split(np.array([0, 0, 3]), 0.5, rng=rng()), "class 3 has 1, expected at least 2"),
        (lambda: stratified_split(np.array([0, 0]), 1.0, rng=rng()), "fraction: got 1.0"),
        (lambda: stratified_split(np.array([0.0, 1.0]), 0.5, rng=rng()), r"labels: got float64 \[2\]"),
        (lambda: stratified_folds(np.array([], int), 2, rng=rng()), r"labels: got int64 \[0\]"),
    ],
)
def test_what_cannot_be_split_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
