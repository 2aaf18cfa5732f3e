"""Graphs from files, the embedded ones, and what is wrong with a file by its name and line."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from jaxvision.data import (
    GraphSet,
    NodeGraph,
    block_model,
    degrees,
    karate_club,
    make_graph,
    motif_graphs,
    read_graph_csv,
    read_planetoid,
    read_tu_folder,
)

CORA = Path("/work/shared/data/planetoid/cora.npz")


def arrays():
    """Five nodes of which one has no edge and one no feature, in the layout of Planetoid."""
    return {
        "feat_indptr": np.array([0, 2, 3, 3, 4, 5], np.int32),
        "feat_indices": np.array([0, 2, 1, 2, 0], np.int32),
        "feat_shape": np.array([5, 3]),
        "labels": np.array([0, 1, 1, 0, 2]),
        "edge_index": np.array([[0, 1, 3], [1, 3, 3]]),
        "train_mask": np.array([1, 1, 0, 0, 0], bool),
        "val_mask": np.array([0, 0, 1, 0, 0], bool),
        "test_mask": np.array([0, 0, 0, 1, 0], bool),
    }


def write_npz(path, **changes):
    kept = {name: array for name, array in {**arrays(), **changes}.items() if array is not None}
    np.savez(path, **kept)
    return path


def test_a_planetoid_file(tmp_path):
    data = read_planetoid(write_npz(tmp_path / "tiny.npz"))
    assert data.graph.nodes.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0], [0, 0, 1], [1, 0, 0]]
    assert data.graph.senders.tolist() == [1, 0, 3, 1] and data.graph.receivers.tolist() == [0, 1, 1, 3]
    assert data.labels.tolist() == [0, 1, 1, 0, 2] and data.num_classes == 3
    assert data.part_names() == ["train", "train", "val", "test", ""]
    weighted = read_planetoid(write_npz(tmp_path / "w.npz", feat_data=np.arange(5.0)))
    assert weighted.graph.nodes[0].tolist() == [0, 0, 1] and weighted.graph.nodes[4].tolist() == [4, 0, 0]
    both_ways = np.array([[0, 1, 1, 3, 3], [1, 0, 3, 1, 3]])
    assert read_planetoid(write_npz(tmp_path / "b.npz", edge_index=both_ways)).graph.senders.tolist() == [
        1, 0, 3, 1,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"edge_index": np.array([[0, 5], [1, 0]])}, "edge 1 from 5 to 0: its sender is not one of 5 nodes"),
        ({"edge_index": np.array([[0, -2], [1, 0]])}, "its sender is negative"),
        ({"edge_index": np.zeros((3, 2), int)}, r"edge_index: got \[3, 2\], expected \[2, E\]"),
        ({"edge_index": None}, "no edge_index among feat_indptr"),
        ({"labels": np.array([0, 1, 1, 0])}, r"labels: got int64 \[4\]"),
        ({"labels": np.array([0, 1, 1, 0, -7])}, "labels: -7 at node 4"),
        ({"labels": np.array([0, 1, -1, 0, 2])}, "val: node 2 has no label"),
        ({"labels": np.zeros(5, int)}, "1 class"),
        ({"train_mask": np.zeros(5, bool)}, "train: the mask is empty"),
        ({"val_mask": np.ones(5, bool)}, "the masks train and val overlap: node 0 is in both"),
        ({"test_mask": np.array([0, 0, 1, 0, 0], bool)}, "the masks val and test overlap: node 2"),
        ({"train_mask": np.ones(4, bool)}, r"train: got bool \[4\]"),
        ({"train_mask": np.ones(5, np.int8)}, "train: got int8"),
        ({"feat_indices": np.array([0, 2, 1, 3, 0])}, "feat_indices: from 0 to 3, expected 0..2"),
        ({"feat_indptr": np.array([0, 2, 1, 3, 4, 5])}, "feat_indptr: expected numbers that rise"),
        ({"feat_indptr": np.array([0, 2])}, r"feat_indptr: got int64 \[2\]"),
        ({"feat_shape": np.array([5])}, "feat_shape: got"),
        ({"feat_data": np.array([1.0, np.nan, 1, 1, 1])}, r"nodes: \[0, 2\] is nan"),
        ({"feat_data": np.ones(3)}, r"feat_data: got \[3\], expected \[5\]"),
    ],
)
def test_a_wrong_planetoid_file_is_named(tmp_path, changes, message):
    path = write_npz(tmp_path / "wrong.npz", **changes)
    with pytest.raises(ValueError, match=r"wrong\.npz: .*" + message):
        read_planetoid(path)


def test_what_is_no_planetoid_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.npz: no such file"):
        read_planetoid(tmp_path / "absent.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.npz: no \.npz file"):
        read_planetoid(tmp_path / "text.npz")
    whole = write_npz(tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut\.npz: no \.npz file"):
        read_planetoid(tmp_path / "cut.npz")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("labels.npy", b"no array")
    (tmp_path / "odd.npz").write_bytes(buffer.getvalue())
    with pytest.raises(ValueError, match=r"odd\.npz: no feat_indptr"):
        read_planetoid(tmp_path / "odd.npz")


@pytest.mark.skipif(not CORA.exists(), reason="shared/data/planetoid is not here")
def test_cora_has_its_published_sizes():
    data = read_planetoid(CORA)
    assert data.graph.nodes.shape == (2708, 1433) and len(data.graph.senders) == 2 * 5278
    assert data.num_classes == 7 and int(data.graph.nodes.sum()) == 49216
    assert [int(mask.sum()) for mask in (data.train, data.val, data.test)] == [140, 500, 1000]
    assert np.bincount(data.labels[data.train]).tolist() == [20] * 7


def test_the_karate_club_is_that_of_networkx():
    networkx = pytest.importorskip("networkx", reason="networkx is not installed (extra graph)")
    theirs, ours = networkx.karate_club_graph(), karate_club()
    found = {(int(s), int(r)) for s, r in zip(ours.graph.senders, ours.graph.receivers, strict=True)}
    assert found == {pair for s, r in theirs.edges for pair in ((s, r), (r, s))}
    clubs = [theirs.nodes[member]["club"] for member in range(34)]
    assert [ours.class_names[label] for label in ours.labels] == [
        {"Mr. Hi": "instructor", "Officer": "officer"}[club] for club in clubs
    ]


def test_the_karate_club_has_its_published_sizes():
    club = karate_club()
    assert degrees(club.graph)[[0, 33, 32, 11]].tolist() == [16, 17, 12, 1]
    assert len(club.graph.senders) == 156 and np.flatnonzero(club.train).tolist() == [0, 33]


def test_a_block_model_has_the_probabilities_asked_for():
    data = block_model((300, 200), inside=0.2, between=0.05, rng=np.random.default_rng(0))
    labels = data.labels
    within = labels[data.graph.senders] == labels[data.graph.receivers]
    pairs = 300 * 299 + 200 * 199
    assert within.sum() / pairs == pytest.approx(0.2, rel=0.03)
    assert (~within).sum() / (2 * 300 * 200) == pytest.approx(0.05, rel=0.05)
    assert data.train.sum() == 20 and not np.any(data.graph.senders == data.graph.receivers)
    for sizes, options in (((5,), {}), ((5, 5), {}), ((50, 50), {"inside": 1.5})):
        with pytest.raises(ValueError, match="expected"):
            block_model(sizes, rng=np.random.default_rng(0), **options)


NODES = "id,label,split,x,y\na,cat,train,1,2\nb,dog,train,3,4.5\n\nc,,,0,-1\nd,cat,val,1,1\ne,dog,test,2,2\n"
EDGES = "source,target,weight\na,b,2\nb,a,4\nc,d,1\n"


def write_csv(folder, nodes=NODES, edges=EDGES):
    (folder / "nodes.csv").write_text(nodes)
    (folder / "edges.csv").write_text(edges)
    return folder / "nodes.csv", folder / "edges.csv"


def test_a_graph_in_csv_files(tmp_path):
    data = read_graph_csv(*write_csv(tmp_path))
    assert data.node_names == ("a", "b", "c", "d", "e") and data.class_names == ("cat", "dog")
    assert data.labels.tolist() == [0, 1, -1, 0, 1] and data.graph.nodes[1].tolist() == [3.0, 4.5]
    assert data.graph.senders.tolist() == [1, 0, 3, 2] and data.graph.edges.tolist() == [3.0, 3.0, 1.0, 1.0]
    assert data.part_names() == ["train", "train", "", "val", "test"]
    assert data.feature_names == ("x", "y")
    directed = read_graph_csv(*write_csv(tmp_path), directed=True)
    assert directed.graph.senders.tolist() == [1, 0, 2] and directed.graph.edges.tolist() == [4.0, 2.0, 1.0]


def test_csv_files_without_features_parts_or_weights(tmp_path):
    nodes = "\ufefflabel,id\n" + "".join(f"{index % 2 + 9},n{index}\n" for index in range(20))
    data = read_graph_csv(*write_csv(tmp_path, nodes, "target,source\nn1,n2\n"))
    assert data.class_names == ("9", "10") and data.graph.nodes.tolist() == np.eye(20).tolist()
    assert [int(mask.sum()) for mask in (data.train, data.val, data.test)] == [12, 4, 4]
    assert data.graph.edges is None and data.graph.senders.tolist() == [2, 1]


@pytest.mark.parametrize(
    "nodes", ["id\na\nb\nc\nd\n", "label,id\n,a\n,b\n,c\n,d\n", "id,label\na,1\nb,1\nc,\nd,1\n"]
)
def test_a_graph_without_classes_where_none_are_needed(tmp_path, nodes):
    paths = write_csv(tmp_path, nodes)
    data = read_graph_csv(*paths, needs_labels=False)
    assert data.class_names == () and data.labels.tolist() == [-1] * 4 and not data.train.any()
    assert data.feature_names == data.node_names == ("a", "b", "c", "d")
    with pytest.raises(ValueError, match=r"no column 'label'|class"):
        read_graph_csv(*paths)


@pytest.mark.parametrize(
    ("nodes", "edges", "message"),
    [
        ("name,label\na,1\n", EDGES, r"nodes\.csv, line 1: no column 'id', the header holds 'name', 'label'"),
        ("", EDGES, "line 1: no column 'id' and no column 'label', the header holds nothing"),
        ("id,label\n", EDGES, "no line below the header"),
        ("id,label,id\na,1,a\n", EDGES, "the column 'id' is there twice"),
        ("id,label\na,1\na,2\n", EDGES, r"nodes\.csv, line 3: the id 'a' is given twice"),
        ("id,label\n,1\n", EDGES, "line 2: no id"),
        ("id,label\na,1,2\n", EDGES, "line 2: 3 values, expected 2"),
        (NODES.replace("4.5", "nan"), EDGES, r"nodes\.csv, line 3: y is 'nan', expected a finite number"),
        (NODES.replace("4.5", "1e99"), EDGES, "line 3: y is '1e99'"),
        (NODES.replace("4.5", "much"), EDGES, "line 3: y is 'much'"),
        (NODES.replace("val", "valid"), EDGES, "line 6: split is 'valid', expected train, val, test"),
        (NODES.replace(",train", ","), EDGES, r"nodes\.csv: train: the mask is empty"),
        (NODES.replace("c,,,", "c,,train,"), EDGES, r"nodes\.csv: train: node 2 has no label"),
        (NODES.replace("dog", "cat"), EDGES, r"nodes\.csv: classes of the nodes: 1 class"),
        (NODES, "from,to\na,b\n", r"edges\.csv, line 1: no column 'source'"),
        (NODES, "source,target\na,b\nb,z\n", r"edges\.csv, line 3: target 'z' is no id"),
        (NODES, "source,target,weight\na,b,\n", r"edges\.csv, line 2: weight is ''"),
        (NODES, 'source,target\n"a,b\n', r"edges\.csv: unexpected end of data"),
        (
            "id,label\na,1\nb,2\n",
            EDGES.replace("c,d", "a,a"),
            "class 0 has 1, class 1 has 1, expected at least 2",
        ),
    ],
)
def test_a_wrong_csv_file_is_named(tmp_path, nodes, edges, message):
    with pytest.raises(ValueError, match=message):
        read_graph_csv(*write_csv(tmp_path, nodes, edges))


def test_missing_csv_files_are_named(tmp_path):
    nodes, edges = write_csv(tmp_path)
    edges.unlink()
    with pytest.raises(FileNotFoundError, match=r"edges\.csv: no such file"):
        read_graph_csv(nodes, edges)
    nodes.write_bytes("id,label\n\xe4,1\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"nodes\.csv: .*expected a CSV file in UTF-8"):
        read_graph_csv(nodes, edges)


TU = {
    "A": "1, 2\n2, 1\n4, 5\n5, 4\n",
    "graph_indicator": "1\n1\n1\n2\n2\n",
    "graph_labels": "1\n-1\n",
}


def write_tu(folder, **files):
    folder = folder / "TOY"
    folder.mkdir()
    for part, text in {**TU, **files}.items():
        (folder / f"TOY_{part}.txt").write_text(text)
    return folder


def test_a_tu_folder(tmp_path):
    labels = {
        "node_labels": "0\n2\n0\n2\n5\n",
        "node_attributes": "0.5, 1\n1, 1\n2, 1\n3, 1\n4, 1\n",
        "edge_labels": "3\n3\n4\n3\n",
    }
    data = read_tu_folder(write_tu(tmp_path, **labels))
    assert data.class_names == ("-1", "1") and data.labels.tolist() == [1, 0]
    first, second = data.graphs
    assert first.nodes.tolist() == [[0.5, 1, 1, 0, 0], [1, 1, 0, 1, 0], [2, 1, 1, 0, 0]]
    assert second.nodes.tolist() == [[3, 1, 0, 1, 0], [4, 1, 0, 0, 1]]
    assert second.senders.tolist() == [1, 0] and second.receivers.tolist() == [0, 1]
    assert second.edges.tolist() == [[1, 0], [0, 1]]


def test_a_tu_folder_without_features_has_degrees(tmp_path):
    data = read_tu_folder(write_tu(tmp_path))
    assert data.graphs[0].nodes.tolist() == [[0, 1], [0, 1], [1, 0]] and data.graphs[0].edges is None


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"A": "1, 2\n2, 6\n"}, r"TOY_A\.txt, line 2: an end that is no node of 1\.\.5"),
        ({"A": "0, 2\n"}, r"TOY_A\.txt, line 1: an end that is no node"),
        ({"A": "1, 2\n3, 4\n"}, r"TOY_A\.txt, line 2: an edge between two graphs"),
        ({"A": "1, 2\n3\n"}, r"TOY_A\.txt, line 2: 1 numbers, expected 2"),
        ({"A": "1, 2\nx, 3\n"}, r"TOY_A\.txt, line 2: 'x, 3', expected numbers"),
        ({"A": "1, 1.5\n"}, r"TOY_A\.txt, line 1: no integer"),
        ({"graph_indicator": "1\n1\n2\n1\n2\n"}, r"graph_indicator\.txt, line 4: below the line before"),
        ({"graph_indicator": "1\n1\n1\n2\n3\n"}, r"graph_indicator\.txt, line 5: no graph of 2"),
        ({"graph_labels": ""}, r"graph_indicator\.txt, line 1: no graph of 0"),
        ({"graph_labels": "1\n1\n"}, "TOY: classes of the graphs: 1 class"),
        ({"node_labels": "1\n2\n"}, r"node_labels\.txt: 2 lines, expected 5, one for each node"),
        ({"edge_attributes": "1\n"}, r"edge_attributes\.txt: 1 lines, expected 4, one for each edge"),
        ({"node_attributes": "1\n2\nnan\n4\n5\n"}, r"node_attributes\.txt, line 3: nan or infinite"),
        ({"node_labels": "1\n2\nnan\n4\n5\n"}, r"node_labels\.txt, line 3: no integer"),
    ],
)
def test_a_wrong_tu_folder_is_named(tmp_path, files, message):
    with pytest.raises(ValueError, match=message):
        read_tu_folder(write_tu(tmp_path, **files))


def test_missing_tu_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent: no such folder"):
        read_tu_folder(tmp_path / "absent")
    folder = write_tu(tmp_path)
    (folder / "TOY_graph_labels.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"TOY_graph_labels\.txt: no such file"):
        read_tu_folder(folder)
    (folder / "TOY_A.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"0 files that end in _A\.txt"):
        read_tu_folder(folder)


def test_generated_graphs_are_what_their_classes_say():
    data = motif_graphs(40, rng=np.random.default_rng(1))
    assert np.bincount(data.labels).tolist() == [10] * 4
    for graph, label in zip(data.graphs, data.labels, strict=True):
        edges, nodes = len(graph.senders) // 2, len(graph.nodes)
        assert 10 <= nodes <= 30 and (edges == nodes - 1) == (label == 0)
        reached = np.eye(nodes)[0]
        for _ in range(nodes):
            np.maximum.at(reached, graph.receivers, reached[graph.senders])
        assert reached.all(), "connected"
    assert len(data.take(np.array([3, 1]))) == 2
    with pytest.raises(ValueError, match="expected 4 graphs or more"):
        motif_graphs(2, rng=np.random.default_rng(0))


def test_wrong_labels_and_sizes_are_named():
    graph = make_graph([0], [1], num_nodes=3)
    mask = np.array([True, False, False])
    none = np.zeros(3, bool)
    with pytest.raises(ValueError, match="labels: 2 at node 1"):
        NodeGraph(graph, np.array([0, 2, 1]), ("a", "b"), mask, none, none)
    with pytest.raises(ValueError, match="labels: got float64"):
        NodeGraph(graph, np.zeros(3), ("a", "b"), mask, none, none)
    with pytest.raises(ValueError, match="node_names: 2 names of 3 nodes"):
        NodeGraph(graph, np.zeros(3, int), ("a", "b"), mask, none, none, ("x", "y"))
    broken = graph._replace(senders=np.array([7], np.int32))
    with pytest.raises(ValueError, match="edge 0 from 7 to 1"):
        NodeGraph(broken, np.zeros(3, int), ("a", "b"), mask, none, none)
    with pytest.raises(ValueError, match="labels: 5 at graph 1"):
        GraphSet([graph, graph], np.array([0, 5]), ("a", "b"))
    with pytest.raises(ValueError, match="graph 1: edge 0 from 7"):
        GraphSet([graph, broken], np.array([0, 1]), ("a", "b"))
    with pytest.raises(ValueError, match="0 graphs"):
        GraphSet([], np.zeros(0, int), ("a", "b"))
