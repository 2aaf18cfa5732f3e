import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from jaxvision.data import karate_club, make_graph
from jaxvision.tasks.node_embedding_scores import (
    classification_rows,
    hold_out_edges,
    link_scores,
    mask_accuracy,
    twin_scores,
)


def _clusters(spread, size=90):
    labels = np.arange(size) % 3
    centres = np.array([[0, 0], [4, 0], [0, 4]])
    return centres[labels] + spread * np.random.default_rng(0).normal(size=(size, 2)), labels


def test_classes_that_are_apart_are_found_and_others_are_not():
    vectors, labels = _clusters(0.3)
    (row,) = classification_rows(vectors, labels, shares=(0.5,), repeats=3)
    assert row["share"] == 0.5 and row["micro_f1"] == row["macro_f1"] == 1 and row["micro_f1_std"] == 0
    noise = np.random.default_rng(1).normal(size=vectors.shape)
    rows = classification_rows(noise, labels, shares=(0.2, 0.8), repeats=5)
    assert all(0.15 < row["micro_f1"] < 0.55 and row["micro_f1_std"] > 0 for row in rows)


def test_scores_are_those_of_counting():
    """One class is never found: its F1 is 0, which micro F1, the accuracy here, does not show."""
    labels = np.array([0] * 40 + [1] * 4)
    vectors = np.zeros((44, 2))
    (row,) = classification_rows(vectors, labels, shares=(0.5,), repeats=1)
    assert row["micro_f1"] == pytest.approx(20 / 22)
    assert row["macro_f1"] == pytest.approx((2 * 20 / 42 + 0) / 2)


def test_nodes_without_a_class_or_alone_in_one_are_left_out():
    vectors, labels = _clusters(0.3)
    more = np.concatenate([labels, [-1, -1, 3]])
    rows = classification_rows(
        np.concatenate([vectors, np.full((3, 2), 1e3)]), more, shares=(0.5,), repeats=2
    )
    assert rows == classification_rows(vectors, labels, shares=(0.5,), repeats=2)


def test_wrong_labels_and_shares_are_named():
    vectors, labels = _clusters(0.3)
    with pytest.raises(ValueError, match="labels: got 3 for 90"):
        classification_rows(vectors, labels[:3])
    with pytest.raises(ValueError, match="expected two classes or more"):
        classification_rows(vectors, np.zeros(90, int))
    with pytest.raises(ValueError, match=r"shares: got 1\.0"):
        classification_rows(vectors, labels, shares=(1.0,))


def test_given_nodes_are_fitted_and_scored():
    vectors, labels = _clusters(0.3)
    train, test = np.zeros((2, 90), bool)
    train[:9], test[9:40] = True, True
    labels = labels.copy()
    labels[10:20] = (labels[10:20] + 1) % 3  # these are wrong
    assert mask_accuracy(vectors, labels, train, test) == pytest.approx(21 / 31)
    with pytest.raises(ValueError, match="expected nodes of two classes to train on"):
        mask_accuracy(vectors, labels, train, np.zeros(90, bool))


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_edges_are_held_out_without_cutting_the_graph(share):
    graph = karate_club().graph
    split = hold_out_edges(graph, share, rng=np.random.default_rng(0))
    count = round(78 * share)
    assert len(split.edges) == len(split.others) == count
    assert len(split.graph.senders) == len(split.graph.where_edges) == 2 * (78 - count)
    all_pairs = set(zip(graph.senders.tolist(), graph.receivers.tolist(), strict=True))
    rest = set(zip(split.graph.senders.tolist(), split.graph.receivers.tolist(), strict=True))
    gone = {tuple(pair) for pair in split.edges.tolist()} | {
        tuple(pair[::-1]) for pair in split.edges.tolist()
    }
    assert rest | gone == all_pairs and not rest & gone
    assert not {tuple(pair) for pair in split.others.tolist()} & all_pairs
    assert np.all(split.others[:, 0] != split.others[:, 1])
    matrix = csr_array((np.ones(len(rest)), tuple(np.array(list(rest)).T)), shape=(34, 34))
    assert connected_components(matrix)[0] == 1


def test_components_stay_as_they_are_and_weights_with_their_edges():
    # Two triangles; node 6 is alone, node 0 has a loop.
    pairs = np.array([[0, 1], [1, 2], [0, 2], [3, 4], [4, 5], [3, 5]])
    senders, receivers = np.concatenate([pairs, pairs[:, ::-1], [[0, 0]]]).T
    graph = make_graph(senders, receivers, num_nodes=7, edges=senders + receivers)
    split = hold_out_edges(graph, 0.3, rng=np.random.default_rng(0))
    assert np.array_equal(split.graph.edges, split.graph.senders + split.graph.receivers)
    matrix = csr_array(
        (np.ones(len(split.graph.senders)), (split.graph.senders, split.graph.receivers)), (7, 7)
    )
    assert connected_components(matrix)[0] == 3


def test_what_cannot_be_held_out_is_named():
    graph, rng = karate_club().graph, np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"share of edges to hold out: got 1\.0"):
        hold_out_edges(graph, 1.0, rng=rng)
    with pytest.raises(ValueError, match="70 of 78, but 45 can be spared"):
        hold_out_edges(graph, 0.9, rng=rng)
    with pytest.raises(ValueError, match="0 of 78, expected 2 or more, one to fit a classifier"):
        hold_out_edges(graph, 1e-9, rng=rng)
    triangle = make_graph([0, 1, 1, 2, 2, 0], [1, 0, 2, 1, 0, 2], num_nodes=9)
    with pytest.raises(ValueError, match="1 of 3, expected 2 or more"):
        hold_out_edges(triangle, 0.3, rng=rng)
    for ends in (([0, 1], [1, 0]), ([0], [0]), ([], [])):
        for share in (0.3, 0.5):
            with pytest.raises(ValueError, match=r"of [01], expected 2 or more.* take a larger graph"):
                hold_out_edges(make_graph(*ends, num_nodes=3), share, rng=rng)
    with pytest.raises(ValueError, match="an edge stands one way only"):
        hold_out_edges(make_graph([0, 1], [1, 2], num_nodes=3), 0.5, rng=rng)


def test_links_are_told_by_vectors_that_know_them():
    rng = np.random.default_rng(0)
    # Blocks of ten, all joined: a pair is an edge if its first number is the same.
    blocks = np.repeat(np.arange(6), 10)
    first, second = np.triu_indices(60, 1)
    same = blocks[first] == blocks[second]
    pairs = np.stack([first, second], axis=1)[same]
    senders, receivers = np.concatenate([pairs, pairs[:, ::-1]]).T
    split = hold_out_edges(make_graph(senders, receivers, num_nodes=60), 0.3, rng=rng)
    knowing = np.eye(6)[blocks] + 0.05 * rng.normal(size=(60, 6))
    found = link_scores(knowing, split)
    assert min(found["hadamard_auc"], found["l1_auc"], found["l2_auc"]) > 0.98
    assert 0.3 < found["average_auc"] < 0.75, "a mean does not say that two are alike"
    blind = link_scores(rng.normal(size=(60, 6)), split)
    assert all(0.3 < value < 0.7 for value in blind.values())
    with pytest.raises(ValueError, match="vectors: got 20, expected one of each node"):
        link_scores(knowing[:20], split)


def test_twins_are_near_each_other():
    vectors = np.array([[0.0, 0.0], [0.0, 0.1], [3.0, 4.0], [3.0, 4.0], [9.0, 9.0]])
    found = twin_scores(vectors, np.array([0, 0, 1, 1, 2]))
    assert found["twin_distance"] == pytest.approx(0.05)
    assert found["nearest_is_twin"] == 1 and found["other_distance"] > 4
    assert twin_scores(vectors, np.array([0, 1, 0, 1, -1]))["nearest_is_twin"] == 0
    with pytest.raises(ValueError, match="two nodes of one role"):
        twin_scores(vectors, np.arange(5))
