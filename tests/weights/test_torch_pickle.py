import io
import json
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from reference.record_torch_files import REFERENCE, tensors

from jaxvision.weights import read_weights


def recorded():
    with np.load(REFERENCE / "torch_files.npz") as archive:
        values = {key: archive[key] for key in archive.files}
    return json.loads(str(values.pop("header")))["dtypes"], values


def check(found, dtypes, values):
    assert list(found) == list(values)
    for key, value in found.items():
        assert value.dtype.name == dtypes[key], key
        assert value.shape == values[key].shape, key
        np.testing.assert_array_equal(value.astype(np.float64), values[key], err_msg=key)


@pytest.mark.parametrize("kind", ["zip", "legacy", "checkpoint"])
def test_reads_what_torch_saved(kind):
    check(read_weights(REFERENCE / f"torch_{kind}.pth"), *recorded())


@pytest.mark.parity
@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_reads_what_torch_saves_now(tmp_path, is_zip, wrapper):
    torch = pytest.importorskip("torch")
    state = tensors()
    path = tmp_path / "weights.pt"
    saved = state if wrapper is None else {"epoch": 1, wrapper: state}
    torch.save(saved, path, _use_new_zipfile_serialization=is_zip)
    dtypes = {key: str(value.dtype).removeprefix("torch.") for key, value in state.items()}
    check(read_weights(path), dtypes, {key: value.detach().double().numpy() for key, value in state.items()})


def test_arrays_are_writable_and_own_their_memory():
    plain = read_weights(REFERENCE / "torch_zip.pth")
    plain["plain"][0, 0] = 99.0
    assert plain["transposed"][0, 0] == 0.0


def zip_of(tree_pickle, path, **storages):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", tree_pickle)
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)


class Attack:
    """Unpickles to a call that makes a folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("kind", ["zip", "legacy", "legacy_first", "bare"])
def test_code_is_refused_and_not_run(tmp_path, kind, protocol):
    folder, path = tmp_path / "made_by_the_pickle", tmp_path / "weights.pth"
    attack = pickle.dumps({"w": Attack(folder)}, protocol)
    if kind == "zip":
        zip_of(attack, path)
    elif kind == "legacy":
        head = [pickle.dumps(part, 2) for part in (LEGACY_MAGIC, 1001, {"little_endian": True})]
        path.write_bytes(b"".join(head) + attack + pickle.dumps([], 2))
    elif kind == "legacy_first":
        path.write_bytes(attack)
    else:
        path.write_bytes(pickle.dumps(Attack(folder), protocol))
    with pytest.raises(ValueError, match=r"asks for \w+\.mkdir, which is not a tensor; it was refused"):
        read_weights(path)
    assert not folder.exists()
    pickle.loads(attack)  # the file was a real attack: the plain unpickler runs it
    assert folder.exists()


@pytest.mark.parametrize(
    "program",
    [
        b"cbuiltins\neval\n(V1+1\ntR.",
        b"cbuiltins\ngetattr\n.",
        b"ctorch\nload\n.",
        b"ctorch._utils\n_rebuild_tensor_v2.__globals__\n.",
        b"cjaxvision.weights.torch_pickle\n_rebuild_tensor\n.",
        b"(Vx\nios\nsystem\n.",
        b"cnumpy\nndarray\n.",
    ],
)
def test_every_other_name_is_refused(tmp_path, program):
    zip_of(program, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match="was refused and nothing was run"):
        read_weights(tmp_path / "weights.pth")


def test_a_pickled_module_is_refused_by_name():
    with pytest.raises(ValueError, match=r"torch\.nn\.modules\.linear\.Linear.*save\(model\.state_dict"):
        read_weights(REFERENCE / "torch_module.pth")


@pytest.mark.parametrize("kind", ["zip", "legacy"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999])
def test_truncated_file(tmp_path, kind, share):
    data = (REFERENCE / f"torch_{kind}.pth").read_bytes()
    path = tmp_path / "weights.pth"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ValueError, match=r"weights\.pth: "):
        read_weights(path)


def test_any_changed_byte_is_read_or_refused_cleanly(tmp_path):
    data = bytearray((REFERENCE / "torch_legacy.pth").read_bytes())
    path, rng = tmp_path / "weights.pth", np.random.default_rng(0)
    refused = 0
    for position in rng.integers(0, len(data), 300):
        changed = bytearray(data)
        changed[position] ^= int(rng.integers(1, 256))
        path.write_bytes(bytes(changed))
        try:
            read_weights(path)
        except ValueError:
            refused += 1
    assert refused > 100


class Stand:
    """Pickles as a call of a torch name, without torch."""

    def __init__(self, name, *args):
        self.name, self.args = name, args


class Writer(pickle._Pickler):
    """Writes storages as persistent ids, and :class:`Stand` as the global of its name."""

    def persistent_id(self, value):
        return value.args if isinstance(value, Stand) and value.name == "storage" else None

    def save(self, value, save_persistent_id=True):
        if isinstance(value, Stand) and value.name != "storage":
            module, _, name = value.name.rpartition(".")
            self.write(f"c{module}\n{name}\n".encode())
            if value.args:
                self.save(tuple(value.args[0]))
                self.write(b"R")
            return
        super().save(value, save_persistent_id)


def crafted(tmp_path, *, offset=0, shape=(2,), strides=(1,), size=2, data=b"\0" * 8):
    storage = Stand("storage", "storage", Stand("torch.FloatStorage"), "0", "cpu", size)
    tensor = Stand("torch._utils._rebuild_tensor_v2", (storage, offset, shape, strides, False, OrderedDict()))
    buffer = io.BytesIO()
    Writer(buffer, 2).dump({"w": tensor})
    zip_of(buffer.getvalue(), tmp_path / "weights.pth", **{"0": data})
    return tmp_path / "weights.pth"


def test_a_tensor_made_by_hand_is_read(tmp_path):
    path = crafted(tmp_path, data=np.array([1.5, 2.5], "<f4").tobytes())
    np.testing.assert_array_equal(read_weights(path)["w"], np.array([1.5, 2.5], np.float32))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"offset": 1}, "reaches past its 2 numbers"),
        ({"shape": (3,)}, "reaches past its 2 numbers"),
        ({"strides": (9,)}, "reaches past its 2 numbers"),
        ({"shape": (10**12,), "strides": (0,)}, "reaches past its 2 numbers"),
        ({"offset": -1}, "not described by a storage"),
        ({"strides": (-1,)}, "not described by a storage"),
        ({"shape": (1.5,)}, "not described by a storage"),
        ({"shape": (2, 1)}, "not a whole PyTorch file|argument 2 is shorter"),
        ({"size": 3}, "8 bytes, expected 12"),
        ({"size": -1}, "unknown storage"),
    ],
)
def test_a_tensor_that_leaves_its_storage_is_refused(tmp_path, fields, message):
    with pytest.raises(ValueError, match=message):
        read_weights(crafted(tmp_path, **fields))


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ([1, 2], "expected a dict of tensors, got list"),
        ({"w": 3}, "'w' holds a int, expected a tensor"),
        ({3: "x"}, "3 holds a str, expected a tensor"),
        ({"model": {"w": "text"}}, "'w' holds a str, expected a tensor"),
    ],
)
def test_what_is_not_a_state_dict_is_refused(tmp_path, tree, message):
    zip_of(pickle.dumps(tree, 2), tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=message):
        read_weights(tmp_path / "weights.pth")


def test_foreign_files_are_refused(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(ValueError, match=r"weights\.pth"):
        read_weights(path)
    path.write_bytes(pickle.dumps({"w": 1}))
    with pytest.raises(ValueError, match=r"not a file that torch\.save wrote"):
        read_weights(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other.txt", "x")
    with pytest.raises(ValueError, match=r"without data\.pkl"):
        read_weights(path)
