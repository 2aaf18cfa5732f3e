"""The hub, played by a server on this machine that answers as huggingface.co does."""

import hashlib
import http.server
import json
import re
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from oracles.network_cases import CASES, recorded, seeded_state_dict

from jaxvision import zoo
from jaxvision.weights import Preprocessing, fetch_from_hub, is_hub_address, write_safetensors

constants = pytest.importorskip("huggingface_hub.constants", reason="needs jaxvision[hub]")

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONFIG = {"architecture": "resnet18", "pretrained_cfg": {"input_size": [3, 160, 160], "crop_pct": 0.95}}


class Hub(http.server.BaseHTTPRequestHandler):
    """Serves ``files``: contents by repository, revision and name; ``tags`` replaces entity tags."""

    files: dict[str, bytes]
    tags: dict[str, str]
    asked: list[str]

    def do_HEAD(self):
        self._answer(with_body=False)

    def do_GET(self):
        self._answer(with_body=True)

    def _answer(self, *, with_body):
        path = self.path.removeprefix("/")
        self.asked.append(f"{self.command} {path}")
        body = self.files.get(path)
        if body is None:
            self.send_response(404)
            exists = any(known.startswith(path.split("/resolve/")[0] + "/") for known in self.files)
            self.send_header("X-Error-Code", "EntryNotFound" if exists else "RepoNotFound")
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        tag = self.tags.get(path, hashlib.sha256(body).hexdigest())
        self.send_header("ETag", f'"{tag}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(monkeypatch, tmp_path):
    class Handler(Hub):
        files, tags, asked = {}, {}, []

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))

    def stop():
        server.shutdown()
        server.server_close()
        thread.join()

    Handler.stop = stop
    yield Handler
    if thread.is_alive():
        stop()


def safetensors_bytes(source, tmp_path):
    write_safetensors(tmp_path / "made.safetensors", source)
    return (tmp_path / "made.safetensors").read_bytes()


def narrow_resnet():
    case = CASES["resnet_basic"]
    fields = {name: case.fields[name] for name in ("blocks", "features", "stem_features")}
    return seeded_state_dict(recorded("resnet_basic")["shapes"]), fields


def test_addresses():
    assert is_hub_address("hf://timm/resnet18.a1_in1k")
    assert not is_hub_address("weights.pth")
    assert not is_hub_address(Path("hf://timm/resnet18"))
    for wrong in ("hf://resnet18", "hf://", "hf://timm/"):
        with pytest.raises(ValueError, match="expected hf://owner/name"):
            fetch_from_hub(wrong)


def test_a_network_of_the_zoo_is_filled_from_the_hub_and_then_from_the_cache(hub, tmp_path):
    source, fields = narrow_resnet()
    root = "timm/resnet18.a1_in1k/resolve/main/"
    hub.files = {
        root + "model.safetensors": safetensors_bytes(source, tmp_path),
        root + "config.json": json.dumps(CONFIG).encode(),
    }
    # A small file is not in large file storage: its tag is that of Git.
    config = hub.files[root + "config.json"]
    hub.tags = {root + "config.json": hashlib.sha1(b"blob %d\0" % len(config) + config).hexdigest()}
    loaded = zoo.load("resnet18", weights="hf://timm/resnet18.a1_in1k", backbone=fields)
    np.testing.assert_array_equal(loaded.variables["params"]["head"]["kernel"], source["fc.weight"].T)
    assert loaded.model.num_classes == 3
    assert loaded.preprocessing == Preprocessing((160, 160), 168, interpolation="bicubic")
    fetched = [line for line in hub.asked if line.startswith("GET") and "model" in line]
    assert len(fetched) == 1
    zoo.load("resnet18", weights="hf://timm/resnet18.a1_in1k", backbone=fields)
    assert [line for line in hub.asked if line.startswith("GET") and "model" in line] == fetched
    hub.stop()  # no network
    again = zoo.load("resnet18", weights="hf://timm/resnet18.a1_in1k", backbone=fields)
    np.testing.assert_array_equal(again.variables["params"]["head"]["kernel"], source["fc.weight"].T)


def test_weights_of_squashed_images_are_filled_from_the_hub(hub, tmp_path):
    source, fields = narrow_resnet()
    root = "timm/resnet18.squashed/resolve/main/"
    squashed = {"input_size": [3, 192, 192], "crop_pct": 0.9, "crop_mode": "squash"}
    hub.files = {
        root + "model.safetensors": safetensors_bytes(source, tmp_path),
        root + "config.json": json.dumps({"pretrained_cfg": squashed}).encode(),
    }
    loaded = zoo.load("resnet18", weights="hf://timm/resnet18.squashed", backbone=fields)
    assert loaded.preprocessing == Preprocessing((192, 192), (213, 213), interpolation="bicubic")


def test_revision_and_file_are_asked_for(hub):
    hub.files = {"me/net/resolve/v1.0/deep/weights.npz": b"numbers", "me/net/resolve/main/x": b""}
    found = fetch_from_hub("hf://me/net@v1.0/deep/weights.npz")
    assert found.path.read_bytes() == b"numbers"
    assert found.preprocessing is None
    hub.files = {"me/net/resolve/refs%2Fpr%2F1/pytorch_model.bin": b"numbers"}
    assert fetch_from_hub("hf://me/net@refs%2Fpr%2F1").path.name == "pytorch_model.bin"


@pytest.mark.parametrize("tag", ["0" * 64, "0" * 40])
def test_a_wrong_checksum_is_refused(hub, tag):
    path = "me/net/resolve/main/model.safetensors"
    hub.files, hub.tags = {path: b"numbers"}, {path: tag}
    with pytest.raises(
        ValueError, match=rf"its checksum is [0-9a-f]+, expected {tag} of .*delete it and load"
    ):
        fetch_from_hub("hf://me/net")


def test_a_damaged_cache_is_found_without_network(hub):
    hub.files = {"me/net/resolve/main/model.safetensors": b"numbers"}
    found = fetch_from_hub("hf://me/net")
    hub.stop()
    assert fetch_from_hub("hf://me/net").path == found.path
    found.path.resolve().write_bytes(b"numbert")
    with pytest.raises(ValueError, match=r"model\.safetensors: its checksum is"):
        fetch_from_hub("hf://me/net")


def test_what_is_not_there_says_what_was_tried(hub):
    hub.files = {"me/net/resolve/main/README.md": b""}
    with pytest.raises(OSError, match="not found or not reachable") as error:
        fetch_from_hub("hf://me/net")
    for part in ("model.safetensors", "pytorch_model.bin", "weights.safetensors", "give the local path"):
        assert part in str(error.value)
    assert re.search(r"fetch http://127.*/me/net/resolve/main/model\.safetensors elsewhere", str(error.value))
    with pytest.raises(OSError, match="RepositoryNotFound"):
        fetch_from_hub("hf://me/other")


def test_without_network_and_cache(hub):
    hub.stop()
    with pytest.raises(OSError, match=r"hf://me/net: not found or not reachable.*local path of the file"):
        zoo.load("resnet18", weights="hf://me/net")


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModuleNotFoundError, match=re.escape("pip install 'jaxvision[hub]'")):
        zoo.load("resnet18", weights="hf://me/net")


def test_a_config_that_is_no_json(hub):
    root = "me/net/resolve/main/"
    hub.files = {root + "model.safetensors": b"numbers", root + "config.json": b"{"}
    with pytest.raises(ValueError, match="not JSON"):
        fetch_from_hub("hf://me/net")
    hub.files |= {"me/other/resolve/main/model.safetensors": b"x", "me/other/resolve/main/config.json": b"[]"}
    assert fetch_from_hub("hf://me/other").preprocessing is None
