"""What the zoo says of the images that published weights expect, against those who publish them."""

import pytest

from jaxvision import zoo

OTHER_RELEASES = {"vit_h_14": "IMAGENET1K_SWAG_LINEAR_V1"}
"""Where the default release is of other images than the network's name says: 518 x 518."""


@pytest.mark.parity
def test_the_default_release_of_every_classifier_of_torchvision():
    """But for the mean and deviation of the two networks that torchvision itself lets normalise anew."""
    models = pytest.importorskip("torchvision").models
    names = [name for name in models.list_models(module=models) if name in zoo.names()]
    assert len(names) > 30
    for name in names:
        releases = models.get_model_weights(name)
        release = releases[OTHER_RELEASES[name]] if name in OTHER_RELEASES else releases.DEFAULT
        theirs, ours = release.transforms(), zoo.ENTRIES[name].preprocessing
        assert list(ours.size) == 2 * theirs.crop_size, name
        assert [ours.resize] == theirs.resize_size, name
        assert ours.interpolation == theirs.interpolation.value, name
        if name in ("googlenet", "inception_v3"):
            assert ours.mean == ours.std == (0.5, 0.5, 0.5)
        else:
            assert (list(ours.mean), list(ours.std)) == (theirs.mean, theirs.std), name
