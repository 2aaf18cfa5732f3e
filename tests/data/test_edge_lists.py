import itertools

import numpy as np
import pytest

from jaxvision.data import barbell_graph, read_edge_list, read_node_labels


def _write(path, text):
    path.write_text(text)
    return path


def _pairs(edges):
    graph, names = edges.graph, edges.node_names
    return {
        (names[i], names[j]) for i, j in zip(graph.senders.tolist(), graph.receivers.tolist(), strict=True)
    }


@pytest.mark.parametrize(
    "text",
    [
        "a b\nb c\n",
        "source,target\na,b\nb,c\n",
        "# two\n\na\tb # x\n b ; c",
        "# who met whom\n\nSource;Target  # names\na;b\nb;c\n",
    ],
)
def test_edges_are_read_in_any_common_form(tmp_path, text):
    found = read_edge_list(_write(tmp_path / "e.txt", text))
    assert found.node_names == ("a", "b", "c") and found.graph.edges is None
    assert _pairs(found) == {("a", "b"), ("b", "a"), ("b", "c"), ("c", "b")}
    assert found.labels.tolist() == [-1, -1, -1] and found.class_names == ()


def test_integer_names_are_ordered_by_value_and_weights_kept(tmp_path):
    path = _write(tmp_path / "e.csv", "source,target,weight\n10,2,0.5\n2,1,2\n")
    found = read_edge_list(path, directed=True)
    assert found.node_names == ("1", "2", "10")
    assert sorted(zip(found.graph.senders, found.graph.receivers, found.graph.edges, strict=True)) == [
        (1, 0, 2.0),
        (2, 1, 0.5),
    ]
    assert len(read_edge_list(path).graph.senders) == 4


def test_labels_are_joined_by_name(tmp_path):
    edges = read_edge_list(_write(tmp_path / "e.txt", "a b\nb c\n"))
    found = read_node_labels(_write(tmp_path / "l.csv", "id,label\nc,red\na,blue\n"), edges)
    assert found.class_names == ("blue", "red") and found.labels.tolist() == [0, -1, 1]
    again = read_node_labels(_write(tmp_path / "m.csv", "# colours\nid,label\nc,red\na,blue\n"), edges)
    assert again.class_names == found.class_names and again.labels.tolist() == found.labels.tolist()
    found = read_node_labels(_write(tmp_path / "n.csv", "c 10\na 9\n"), edges)
    assert found.class_names == ("9", "10") and found.labels.tolist() == [0, -1, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a b\na\n", "line 2: 1 fields, expected two names"),
        ("a b c d\n", "line 1: 4 fields, expected two names of nodes"),
        ("a b 1\nb c\n", "line 2: 2 fields, expected two names of nodes and a weight"),
        ("a b -1\n", "line 1: the weight '-1', expected a finite number of 0 or more"),
        ("a b x\n", "line 1: the weight 'x'"),
        ("a b nan\n", "line 1: the weight 'nan'"),
        ("# nothing\n", "no edge, expected a line"),
    ],
)
def test_broken_edges_are_named(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_edge_list(_write(tmp_path / "e.txt", text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\n", "line 1: 1 fields, expected a node's name and its label"),
        ("a x\nd x\n", "line 2: no edge has the node 'd', expected one of a, b"),
        ("a x\na y\n", "line 2: the node 'a' has a label already"),
        ("\n", "no label"),
    ],
)
def test_broken_labels_are_named(tmp_path, text, message):
    edges = read_edge_list(_write(tmp_path / "e.txt", "a b\n"))
    with pytest.raises(ValueError, match=message):
        read_node_labels(_write(tmp_path / "l.txt", text), edges)


def test_a_file_that_is_none_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.txt: no such file"):
        read_edge_list(tmp_path / "absent.txt")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not UTF-8"):
        read_edge_list(tmp_path / "b.txt")


@pytest.mark.parametrize(("clique", "path"), [(10, 10), (4, 3), (2, 0)])
def test_the_barbell_and_its_twins(clique, path):
    """Edges by the definition, and classes that are those of the graph's symmetries."""
    found = barbell_graph(clique, path)
    pairs = set(zip(found.graph.senders.tolist(), found.graph.receivers.tolist(), strict=True))
    first, second = range(clique), range(clique + path, 2 * clique + path)
    wanted = {(i, j) for group in (first, second) for i in group for j in group if i != j}
    way = list(range(clique - 1, clique + path + 1))
    wanted |= {pair for step in itertools.pairwise(way) for pair in (step, step[::-1])}
    assert pairs == wanted
    mirrored = {(len(found.labels) - 1 - i, len(found.labels) - 1 - j) for i, j in pairs}
    assert mirrored == pairs and np.array_equal(found.labels, found.labels[::-1])
    assert len(found.class_names) == found.labels.max() + 1
    degrees = np.bincount(found.graph.senders)
    for label in range(found.labels.max() + 1):
        assert len(set(degrees[found.labels == label])) == 1
    if (clique, path) == (4, 3):
        assert found.labels.tolist() == [0, 0, 0, 1, 2, 3, 2, 1, 0, 0, 0]


def test_a_barbell_that_is_none_is_named():
    with pytest.raises(ValueError, match="clique 1, path 3"):
        barbell_graph(1, 3)
