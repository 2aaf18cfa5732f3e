"""Padding, sampling, splits and batches of graphs."""

import dataclasses
import itertools

import numpy as np
import pytest

from jaxvision.data import (
    Bucket,
    BucketError,
    FullGraphNodes,
    GraphSetBatches,
    LinkBatches,
    NeighbourSampler,
    SampledNodes,
    batch_bucket,
    batch_graph,
    block_model,
    check_host_graph,
    join_graphs,
    karate_club,
    make_graph,
    motif_graphs,
    pad_graph,
    rounded_bucket,
    sample_negatives,
    split_edges,
    split_nodes,
    unpad_graph,
    whole_graph_edges,
)
from jaxvision.layers import degree_coordinates


def same(first, second):
    for name, one, other in zip(first._fields, first, second, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=name)


@pytest.fixture(scope="module")
def motifs():
    return motif_graphs(24, rng=np.random.default_rng(0))


def test_padding_comes_off_again(motifs):
    joined = join_graphs(motifs.graphs[:3])
    check_host_graph(joined)
    bucket = Bucket(len(joined.nodes) + 5, len(joined.senders) + 7, 6)
    padded = pad_graph(joined, bucket)
    check_host_graph(padded)
    assert len(padded.nodes) == bucket.nodes and len(padded.where_graphs) == 6
    assert set(padded.senders[~padded.where_edges]) == {bucket.nodes - 1}
    assert set(padded.graph_ids[~padded.where_nodes]) == {5}
    same(unpad_graph(padded), joined)
    starts = np.cumsum([0] + [len(graph.nodes) for graph in motifs.graphs[:3]])
    for index, graph in enumerate(motifs.graphs[:3]):
        own = np.flatnonzero(joined.graph_ids == index)
        np.testing.assert_array_equal(own, np.arange(starts[index], starts[index + 1]))
        inside = joined.graph_ids[joined.receivers] == index
        np.testing.assert_array_equal(joined.senders[inside] - starts[index], graph.senders)


def test_a_graph_larger_than_its_bucket_is_named(motifs):
    graph = make_graph([0, 1], [1, 0], num_nodes=3)
    for bucket in (Bucket(2, 2), Bucket(3, 1), Bucket(9, 9, 0)):
        with pytest.raises(BucketError, match="molecule 7: 3 nodes, 2 edges, 1 graphs; the bucket has"):
            pad_graph(graph, bucket, name="molecule 7")
    same(pad_graph(graph, Bucket(3, 2)), graph)
    with pytest.raises(BucketError, match="graph 0: "):
        GraphSetBatches(motifs, batch_size=2, bucket=(4, 100))
    largest = max(len(graph.nodes) for graph in motifs.graphs)
    tight = GraphSetBatches(motifs, batch_size=4, bucket=(largest, 200))
    with pytest.raises(BucketError, match="batch 0: "):
        next(tight.batches(motifs, seed=0))


def test_graphs_of_different_features_are_not_joined():
    with pytest.raises(ValueError, match="nodes of different kinds"):
        join_graphs([make_graph([], [], nodes=np.ones((1, 2))), make_graph([], [], num_nodes=1)])
    with pytest.raises(ValueError, match="edges of different kinds"):
        join_graphs([make_graph([0], [0], num_nodes=1, edges=[1.0]), make_graph([0], [0], num_nodes=1)])
    with pytest.raises(ValueError, match="no graph to join"):
        join_graphs([])


def test_buckets_hold_every_batch(motifs):
    bucket = batch_bucket(motifs.graphs, 5)
    sizes = sorted((len(graph.nodes) for graph in motifs.graphs), reverse=True)
    assert sum(sizes[:5]) <= bucket.nodes < sum(sizes[:5]) + 8
    assert rounded_bucket(make_graph([], [], num_nodes=16)) == Bucket(16, 16, 1)
    assert rounded_bucket(make_graph([], [], num_nodes=17)) == Bucket(32, 16, 1)
    with pytest.raises(ValueError, match="no graph"):
        batch_bucket([], 2)


@pytest.mark.parametrize(("count", "batch_size"), [(24, 7), (5, 12)])
def test_a_graph_that_comes_twice_in_a_batch_fits(motifs, count, batch_size):
    few = dataclasses.replace(motifs, graphs=motifs.graphs[:count], labels=motifs.labels[:count])
    loader = GraphSetBatches(few, batch_size=batch_size)
    for batch in itertools.islice(loader.batches(few, seed=3), 12):
        assert int(batch["where"].sum()) == batch_size


@pytest.mark.parametrize("shards", [1, 2])
def test_every_epoch_holds_each_graph_once(motifs, shards):
    loader = GraphSetBatches(motifs, batch_size=6, shards=shards)
    batches = list(itertools.islice(loader.batches(motifs, seed=3), 8))
    shapes = {tuple((name, x.shape, x.dtype.str) for name, x in batch.items()) for batch in batches}
    assert len(shapes) == 1, "one shape, one program"
    for epoch in (batches[:4], batches[4:]):
        counted = np.bincount(np.concatenate([batch["labels"][batch["where"]] for batch in epoch]))
        assert counted.tolist() == [6, 6, 6, 6]
        nodes = sum(batch["where_nodes"].sum() for batch in epoch)
        assert nodes == sum(len(graph.nodes) for graph in motifs.graphs)
    assert not np.array_equal(batches[0]["labels"], batches[4]["labels"]), "each epoch is shuffled anew"
    for part in range(shards):
        check_host_graph(batch_graph({name: array[part] for name, array in batches[0].items()}))


def test_evaluation_sees_each_graph_once_in_order(motifs):
    loader = GraphSetBatches(motifs, batch_size=10, shards=2)
    found = list(loader.ordered_batches(motifs))
    assert [int(batch["where"].sum()) for batch in found] == [10, 10, 4]
    labels = np.concatenate([batch["labels"][batch["where"]] for batch in found])
    np.testing.assert_array_equal(labels, motifs.labels)


def test_a_position_brings_the_same_batches_back(motifs):
    club = karate_club()
    loaders = [
        (GraphSetBatches(motifs, batch_size=7), motifs),
        (SampledNodes(club, (2, 2), batch_size=2), "train"),
        (LinkBatches(split_edges(club.graph, rng=np.random.default_rng(0))), "train"),
        (FullGraphNodes(club), "train"),
    ]
    for loader, source in loaders:
        batches = loader.batches(source, seed=1)
        for _ in range(5):
            next(batches)
        position = batches.get_state()
        wanted = [next(batches) for _ in range(3)]
        again = loader.batches(source, seed=1)
        again.set_state(position)
        for batch in wanted:
            for name, array in next(again).items():
                np.testing.assert_array_equal(array, batch[name])
        again.close()


def test_devices_that_cannot_share_a_batch_are_named(motifs):
    with pytest.raises(ValueError, match="batch_size 6 on 4 devices"):
        GraphSetBatches(motifs, batch_size=6, shards=4)
    with pytest.raises(ValueError, match="batch_size 0 on 1 devices"):
        SampledNodes(karate_club(), (2,), batch_size=0)


def test_a_large_enough_fan_out_is_the_whole_neighbourhood():
    rng = np.random.default_rng(0)
    graph = make_graph(*rng.integers(0, 30, (2, 90)), nodes=np.arange(30.0)[:, None], edges=np.arange(90.0))
    sampler = NeighbourSampler(graph, (90, 90), seeds=4)
    part, nodes = sampler.draw([3, 11, 25], rng=rng)
    assert nodes[:3].tolist() == [3, 11, 25]
    assert len(part.nodes) == sampler.bucket.nodes == 30
    check_host_graph(part)
    real = part.where_edges
    inner = np.isin(nodes, [3, 11, 25]) | np.isin(nodes, graph.senders[np.isin(graph.receivers, [3, 11, 25])])
    wanted = np.isin(graph.receivers, nodes[inner])
    found = sorted(zip(nodes[part.senders[real]], nodes[part.receivers[real]], part.edges[real], strict=True))
    expected = zip(graph.senders[wanted], graph.receivers[wanted], graph.edges[wanted], strict=True)
    assert found == sorted(expected)
    np.testing.assert_array_equal(part.nodes[part.where_nodes][:, 0], nodes)


def test_a_fan_out_bounds_what_is_drawn_and_every_neighbour_is_as_likely():
    star = make_graph(np.arange(1, 9), np.zeros(8, int), num_nodes=9)
    sampler = NeighbourSampler(star, (3, 2), seeds=1)
    assert sampler.bucket == (9, 8, 1)
    counts = np.zeros(9, int)
    for seed in range(400):
        part, nodes = sampler.draw([0], rng=np.random.default_rng(seed))
        assert part.where_edges.sum() == 3 and len(nodes) == 4
        counts[nodes[1:]] += 1
    assert counts[0] == 0 and counts[1:].min() > 110 and counts[1:].max() < 190  # 150 expected, sigma 10
    part, nodes = sampler.draw([4], rng=np.random.default_rng(0))
    assert nodes.tolist() == [4] and not part.where_edges.any()


def test_edges_carry_what_is_made_of_the_degrees_of_the_whole_graph():
    senders, receivers = [0, 1, 1, 2, 3, 3, 3, 4], [1, 0, 2, 1, 3, 3, 0, 4]  # two loops on 3, the last counts
    weights = np.array([2.0, 3.0, 1.0, 4.0, 9.0, 5.0, 1.0, -1.0])
    graph = make_graph(senders, receivers, num_nodes=6, edges=weights)

    def dense(found):
        matrix = np.zeros((6, 6))
        np.add.at(matrix, (found.receivers, found.senders), found.edges)
        return matrix

    def root(degrees):
        return np.array([degree**-0.5 if degree > 0 else 0 for degree in degrees])

    matrix = np.zeros((6, 6))
    np.add.at(matrix, (receivers, senders), weights)
    other = matrix - np.diag(np.diag(matrix))
    looped = other + np.diag([1, 1, 1, 5, -1, 1])
    scale = root(looped.sum(1))
    np.testing.assert_allclose(
        dense(whole_graph_edges(graph, "gcn")), scale[:, None] * looped * scale, rtol=1e-6
    )
    scale = root(other.sum(0))
    np.testing.assert_allclose(
        dense(whole_graph_edges(graph, "chebyshev")), scale[:, None] * other * scale, rtol=1e-6
    )
    places = whole_graph_edges(graph, "degrees")
    wanted = np.asarray(degree_coordinates(graph))
    np.testing.assert_allclose(places.edges, wanted, rtol=1e-6)
    with pytest.raises(ValueError, match="expected 'gcn', 'chebyshev' or 'degrees', got 'gin'"):
        whole_graph_edges(graph, "gin")
    with pytest.raises(ValueError, match=r"edges carry features \[8, 2\]"):
        whole_graph_edges(graph._replace(edges=np.ones((8, 2), np.float32)), "gcn")


def test_weights_of_drawn_edges_make_up_for_those_that_are_not():
    club = karate_club().graph
    weighted = whole_graph_edges(club, "gcn")
    x = np.random.default_rng(0).normal(size=34)
    wanted = np.zeros(34)
    np.add.at(wanted, weighted.receivers, weighted.edges * x[weighted.senders])
    sampler = NeighbourSampler(weighted, (2,), seeds=34, keep_loops=True, rescale=True)
    sums = np.zeros((300, 34))
    for seed in range(300):
        part, nodes = sampler.draw(np.arange(34), rng=np.random.default_rng(seed))
        real = part.where_edges
        loops = part.senders[real] == part.receivers[real]
        assert loops.sum() == 34 and np.bincount(part.receivers[real][~loops]).max() == 2
        np.add.at(sums[seed], part.receivers[real], part.edges[real] * x[nodes[part.senders[real]]])
    error = sums.mean(axis=0) - wanted
    assert np.all(np.abs(error) < 5 * sums.std(axis=0) / np.sqrt(300) + 1e-5)
    assert np.abs(sums[0] - wanted).max() > 0.05, "a single draw differs"
    with pytest.raises(ValueError, match=r"rescale: expected a weight \[E\] an edge"):
        NeighbourSampler(club, (2,), seeds=3, rescale=True)


def test_sampling_refuses_what_does_not_fit():
    sampler = NeighbourSampler(karate_club().graph, (2,), seeds=2)
    rng = np.random.default_rng(0)
    for nodes in ([0, 1, 2], [1, 1]):
        with pytest.raises(ValueError, match="expected at most 2 and each once"):
            sampler.draw(nodes, rng=rng)
    with pytest.raises(ValueError, match="nodes: got 34 to 34 in a graph of 34"):
        sampler.draw([34], rng=rng)
    with pytest.raises(ValueError, match="expected numbers of 1 or more"):
        NeighbourSampler(karate_club().graph, (), seeds=2)


def test_sampled_batches_hold_their_targets_first():
    data = block_model((30, 30), rng=np.random.default_rng(0))
    loader = SampledNodes(data, (3, 2), batch_size=8, shards=2)
    seen = []
    for batch in loader.ordered_batches("test"):
        assert batch["nodes"].shape == (2, loader.bucket.nodes, 16)
        for part in range(2):
            own = {name: array[part] for name, array in batch.items()}
            check_host_graph(batch_graph(own))
            count = own["where"].sum()
            assert own["where"][:count].all()
            seen += [own["nodes"][:count]]
    np.testing.assert_array_equal(np.concatenate(seen), data.graph.nodes[data.test])
    first, second = (next(loader.ordered_batches("val")) for _ in range(2))
    np.testing.assert_array_equal(first["senders"], second["senders"])


def test_edges_are_padded_for_the_devices_that_share_them():
    batch = FullGraphNodes(karate_club(), edge_multiple=8).batch("val")
    assert batch["senders"].shape == (1, 160) and batch["where_edges"].sum() == 156
    assert batch["where"].sum() == karate_club().val.sum()


def test_held_out_edges_are_apart_and_negatives_are_no_edges():
    graph = karate_club().graph
    split = split_edges(graph, val_share=0.1, test_share=0.2, rng=np.random.default_rng(0))
    assert (len(split.val), len(split.test), len(split.train)) == (8, 16, 54)
    parts = [{frozenset(map(int, pair)) for pair in part} for part in (split.train, split.val, split.test)]
    assert len(frozenset().union(*parts)) == 78
    edges = {frozenset((int(s), int(r))) for s, r in zip(graph.senders, graph.receivers, strict=True)}
    assert set().union(*parts) == edges
    message = zip(split.graph.senders, split.graph.receivers, strict=True)
    assert {frozenset((int(s), int(r))) for s, r in message} == parts[0]
    check_host_graph(split.graph)
    negatives = np.concatenate([split.val_negatives, split.test_negatives])
    pairs = {frozenset(map(int, pair)) for pair in negatives}
    assert len(pairs) == len(negatives) == 24 and not pairs & edges
    assert all(len(pair) == 2 for pair in pairs)


def test_negatives_are_drawn_until_there_are_no_more():
    complete = np.array([i * 4 + j for i in range(4) for j in range(4) if i != j])
    with pytest.raises(ValueError, match="0 pairs of 4 nodes have no edge"):
        sample_negatives(complete, 4, 1, rng=np.random.default_rng(0))
    but_one = np.array([key for key in complete if key not in (1, 4)])
    found = sample_negatives(but_one, 4, 6, rng=np.random.default_rng(0))
    assert {tuple(sorted(pair)) for pair in found.tolist()} == {(0, 1)} and len(found) == 6
    with pytest.raises(ValueError, match=r"1 pairs .* expected 2"):
        sample_negatives(but_one, 4, 2, rng=np.random.default_rng(0), distinct=True)
    every = sample_negatives(np.zeros(0, int), 4, 6, rng=np.random.default_rng(0), distinct=True)
    assert len({tuple(sorted(pair)) for pair in every.tolist()}) == 6


def test_shares_of_edges_that_do_not_fit_are_named():
    graph = karate_club().graph
    with pytest.raises(ValueError, match="together less than 1"):
        split_edges(graph, val_share=0.5, test_share=0.5, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="1 edges, expected at least 3"):
        split_edges(make_graph([0], [1], num_nodes=2), rng=np.random.default_rng(0))


def test_nodes_are_split_class_by_class_and_the_unlabelled_are_left_out():
    labels = np.array([0] * 10 + [1] * 20 + [-1] * 5)
    masks = split_nodes(labels, 0.2, 0.2, rng=np.random.default_rng(0))
    assert [int(mask.sum()) for mask in masks] == [18, 6, 6]
    assert not np.any(sum(mask.astype(int) for mask in masks) > 1)
    assert not any(mask[30:].any() for mask in masks)
    assert [int((labels[mask] == 0).sum()) for mask in masks] == [6, 2, 2]
