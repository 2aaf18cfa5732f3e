import json
import os

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from jaxvision.weights import read_metadata, read_variables, read_weights, write_safetensors

VARIABLES = {
    "params": {
        "head": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.ones(3, np.float32)}
    },
    "batch_stats": {"norm": {"mean": np.zeros((), np.float32)}},
}


def test_variables_and_metadata_survive_the_file(tmp_path):
    path = tmp_path / "weights.safetensors"
    variables = {**VARIABLES, "params": {**VARIABLES["params"], "half": jnp.ones((2, 2), jnp.bfloat16)}}
    write_safetensors(path, variables, metadata={"config": json.dumps({"classes": 3})})
    found = read_variables(path)
    np.testing.assert_array_equal(found["params"]["head"]["kernel"], VARIABLES["params"]["head"]["kernel"])
    assert found["batch_stats"]["norm"]["mean"].shape == ()
    assert found["params"]["half"].dtype == ml_dtypes.bfloat16
    assert read_metadata(path) == {"config": '{"classes": 3}'}
    assert sorted(read_weights(path)) == [
        "batch_stats/norm/mean", "params/half", "params/head/bias", "params/head/kernel",
    ]  # fmt: skip
    assert os.listdir(tmp_path) == ["weights.safetensors"]


def test_arrays_that_are_not_contiguous_keep_their_values(tmp_path):
    path = tmp_path / "weights.safetensors"
    turned = np.arange(6, dtype=np.float32).reshape(2, 3).T
    write_safetensors(path, {"params": {"w": turned}})
    np.testing.assert_array_equal(read_variables(path)["params"]["w"], turned)
    assert read_metadata(path) == {}


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, step):
    path = tmp_path / "weights.safetensors"
    write_safetensors(path, VARIABLES)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space left"):
        write_safetensors(path, {"params": {"w": np.zeros(3, np.float32)}})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["weights.safetensors"]


def test_write_errors(tmp_path):
    with pytest.raises(ValueError, match=r"expected the suffix \.safetensors, got '\.npz'"):
        write_safetensors(tmp_path / "weights.npz", VARIABLES)
    with pytest.raises(ValueError, match=r"metadata: expected text, got \{'epoch': 3\}"):
        write_safetensors(tmp_path / "weights.safetensors", VARIABLES, metadata={"epoch": 3})
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        write_safetensors(tmp_path / "file" / "weights.safetensors", VARIABLES)
    assert os.listdir(tmp_path) == ["file"]


def test_reads_npz(tmp_path):
    np.savez(tmp_path / "weights.npz", a=np.arange(3), b=np.ones((2, 2), np.float16))
    found = read_weights(tmp_path / "weights.npz")
    assert {name: (value.dtype.name, value.shape) for name, value in found.items()} == {
        "a": ("int64", (3,)),
        "b": ("float16", (2, 2)),
    }


@pytest.mark.parametrize("name", ["absent.safetensors", "absent.npz", "absent.pth"])
def test_missing_file(tmp_path, name):
    with pytest.raises(FileNotFoundError, match="no such file of weights"):
        read_weights(tmp_path / name)


def test_missing_variables(tmp_path):
    for reader in (read_variables, read_metadata):
        with pytest.raises(FileNotFoundError, match="no such file of weights"):
            reader(tmp_path / "absent.safetensors")


def test_unknown_suffix(tmp_path):
    (tmp_path / "weights.h5").write_bytes(b"x")
    with pytest.raises(
        ValueError, match=r"unknown suffix '\.h5', expected \.safetensors, \.npz, \.pth, \.pt or \.bin"
    ):
        read_weights(tmp_path / "weights.h5")


@pytest.mark.parametrize("keep", [0, 4, 20, -1])
def test_truncated_safetensors(tmp_path, keep):
    path = tmp_path / "weights.safetensors"
    write_safetensors(path, VARIABLES)
    path.write_bytes(path.read_bytes()[:keep])
    for reader in (read_weights, read_variables, read_metadata):
        with pytest.raises(ValueError, match="not a whole safetensors file"):
            reader(path)


@pytest.mark.parametrize("keep", [0, 4, 60, -1, -40])
def test_truncated_npz(tmp_path, keep):
    path = tmp_path / "weights.npz"
    np.savez(path, a=np.arange(100))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="not a whole npz file"):
        read_weights(path)


def test_npy_under_the_name_of_an_npz(tmp_path):
    with (tmp_path / "weights.npz").open("wb") as file:
        np.save(file, np.arange(3))
    with pytest.raises(ValueError, match="not a whole npz file"):
        read_weights(tmp_path / "weights.npz")


def test_npz_of_objects_is_refused(tmp_path):
    np.savez(tmp_path / "weights.npz", a=np.array([{"x": 1}], dtype=object))
    with pytest.raises(ValueError, match="arrays of objects are refused"):
        read_weights(tmp_path / "weights.npz")


def test_weights_of_another_library_are_not_variables(tmp_path):
    safetensors.numpy.save_file({"conv1.weight": np.zeros(3, np.float32)}, tmp_path / "w.safetensors")
    with pytest.raises(
        ValueError, match=r"expected names such as 'params/head/kernel', got \['conv1\.weight'\]"
    ):
        read_variables(tmp_path / "w.safetensors")


def test_unsupported_dtype_is_named(tmp_path):
    array = np.zeros(3, ml_dtypes.float8_e4m3fn)
    safetensors.numpy.save_file({"w": array}, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="dtype 'F8_E4M3' is not supported"):
        read_weights(tmp_path / "w.safetensors")
