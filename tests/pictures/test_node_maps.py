"""Places of nodes and the map of them."""

import numpy as np
import pytest
from PIL import Image
from sklearn.decomposition import PCA

from jaxvision.pictures import force_layout, plot_node_map, principal_plane


def test_neighbours_lie_nearer_than_others():
    ends = np.array([(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3), (2, 3)]).T
    places = force_layout(*ends, 6)
    assert places.min() >= 0 and places.max() <= 1
    distance = np.linalg.norm(places[:, None] - places[None], axis=-1)
    assert distance[0, 1] < distance[0, 4] and distance[4, 5] < distance[1, 5]
    assert force_layout(np.zeros(0, int), np.zeros(0, int), 0).shape == (0, 2)
    assert force_layout(np.zeros(1, int), np.zeros(1, int), 1).shape == (1, 2)


def test_the_plane_is_that_of_principal_components():
    vectors = np.random.default_rng(0).normal(size=(20, 6)) * [5, 3, 1, 1, 1, 1] + 7
    found, expected = principal_plane(vectors), PCA(2).fit_transform(vectors)
    for axis in range(2):
        sign = np.sign(expected[np.abs(expected[:, axis]).argmax(), axis])
        np.testing.assert_allclose(found[:, axis], sign * expected[:, axis], atol=1e-9)
    np.testing.assert_allclose(principal_plane(vectors[::-1]), found[::-1], atol=1e-9)
    assert principal_plane(np.ones((1, 3))).tolist() == [[0, 0]]
    assert principal_plane(np.zeros((0, 3))).shape == principal_plane(np.zeros((0, 0))).shape == (0, 2)
    np.testing.assert_allclose(np.abs(principal_plane(np.array([[1.0], [3.0]]))), [[1, 0], [1, 0]])


def test_a_map_is_drawn(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(-1, 3, 30)
    options = {"class_names": ["a", "b", "c"], "senders": np.arange(29), "receivers": np.arange(1, 30)}
    path = plot_node_map(
        tmp_path / "map.png",
        rng.random((30, 2)),
        labels=labels,
        predictions=np.maximum(labels, 0),
        where=labels > 0,
        **options,
    )
    with Image.open(path) as image:
        assert min(image.size) > 400
    with pytest.raises(ValueError, match=r"places \[2, 2\], labels \[3\]"):
        plot_node_map(path, np.zeros((2, 2)), labels=np.zeros(3), predictions=np.zeros(3), **options)
