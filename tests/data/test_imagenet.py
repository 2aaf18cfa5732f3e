import pytest

from jaxvision.data import imagenet_classes, imagenet_synsets


def test_names_and_identifiers():
    names, synsets = imagenet_classes(), imagenet_synsets()
    assert len(names) == len(set(names)) == len({name.lower() for name in names}) == 1000
    assert list(synsets) == sorted(set(synsets))
    assert all(synset[0] == "n" and len(synset) == 9 for synset in synsets)
    known = {0: "tench", 134: "crane (bird)", 282: "tiger cat", 517: "crane (machine)", 967: "espresso"}
    assert {index: names[index] for index in known} == known
    assert (names[999], synsets[999]) == ("toilet tissue", "n15075141")


@pytest.mark.parity
def test_in_the_order_of_torchvision():
    from torchvision.models import ResNet18_Weights

    theirs = ResNet18_Weights.DEFAULT.meta["categories"]
    pairs = list(zip(imagenet_classes(), theirs, strict=True))
    different = {their for our, their in pairs if our != their}
    assert different == {"crane bird", "crane", "Cardigan", "maillot tank suit"}
