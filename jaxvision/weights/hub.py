"""Files of weights from the Hugging Face hub, by ``huggingface_hub``, which keeps and shares its cache."""

import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from jaxvision.weights.preprocessing import Preprocessing, preprocessing_from_timm

_ADDRESS = re.compile(r"hf://(?P<repo>[^/@]+/[^/@]+)(?:@(?P<revision>[^/]+))?(?:/(?P<file>.+))?")
_FILES = ("model.safetensors", "pytorch_model.bin", "weights.safetensors")


class HubFile(NamedTuple):
    """A file of weights that is on this machine now.

    Attributes:
      path: of the file, in the cache of ``huggingface_hub``.
      preprocessing: what the repository's ``config.json`` says of it in timm's terms; None if nothing.
    """

    path: Path
    preprocessing: Preprocessing | None


class _Request(NamedTuple):
    """``hf://repo@revision``, and where to."""

    address: str
    repo: str
    revision: str | None

    def url(self, name: str) -> str:
        return f"{_endpoint()}/{self.repo}/resolve/{self.revision or 'main'}/{name}"


def is_hub_address(weights: Any) -> bool:
    """Whether this names a file on the hub, and not one on this machine.

    >>> is_hub_address("hf://timm/resnet50.a1_in1k")
    True
    """
    return isinstance(weights, str) and weights.startswith("hf://")


def fetch_from_hub(address: str) -> HubFile:
    """Fetches a file of weights from the hub, or finds it in the cache, and checks it by its checksum.

    The file's SHA-256 (SHA-1 as Git has it, of a file that is not in large file storage) is compared with the
    hub's entity tag, or without network with the name under which the cache keeps it.

    Args:
      address: ``hf://owner/name``, ``hf://owner/name@revision`` or ``hf://owner/name@revision/file``. The
        revision is a branch, a tag or a commit, a slash in it written ``%2F``. Without a file,
        ``model.safetensors``, ``pytorch_model.bin`` and ``weights.safetensors`` are tried in this order.

    Returns:
      The file, and the preprocessing that timm's repositories note.

    Raises:
      ModuleNotFoundError: without ``huggingface_hub``.
      OSError: if the repository, the revision or the file is not there, or no network is.
      ValueError: for an address of another form, or a file whose checksum is wrong.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise ValueError(
            f"{address}: expected hf://owner/name, hf://owner/name@revision or hf://owner/name@revision/file"
        )
    _hub(address)
    request = _Request(address, match["repo"], match["revision"] and unquote(match["revision"]))
    path = _download_first(request, (match["file"],) if match["file"] else _FILES)
    try:
        config = _download_first(request, ("config.json",))
    except OSError:  # a repository need not have one, and the weights are there
        return HubFile(path, None)
    return HubFile(path, _read_config(config))


def _endpoint() -> str:
    """Of the hub, or of a mirror, by the variable that ``huggingface_hub`` reads when it is imported."""
    return os.environ.get("HF_ENDPOINT") or "https://huggingface.co"


def _hub(address: str) -> Any:
    try:
        import huggingface_hub.errors  # the package itself loads its parts only when they are asked for
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{address}: fetching from the hub needs huggingface_hub: pip install 'jaxvision[hub]'; or fetch "
            "the file otherwise and give its path"
        ) from error
    return huggingface_hub


def _download_first(request: _Request, names: Sequence[str]) -> Path:
    """The first of these files that the repository has."""
    hub = _hub(request.address)
    reasons = []
    for name in names:
        try:
            tag = _entity_tag(request, name)
            path = Path(
                hub.hf_hub_download(
                    request.repo,
                    name,
                    revision=request.revision,
                    endpoint=_endpoint(),
                    local_files_only=tag is None,  # else it tries for half a minute to reach the hub
                )
            )
        except (OSError, ValueError, hub.errors.EntryNotFoundError) as error:
            reasons.append(f"{name}: {type(error).__name__}: {str(error).strip().splitlines()[0]}")
            continue
        # Without network: the cache names its files by their checksums.
        _verify(path, path.resolve().name if tag is None else tag, request.url(name))
        return path
    raise OSError(
        f"{request.address}: not found or not reachable. Tried {'; '.join(reasons)}. Check the name and the "
        f"network; or fetch {request.url(names[0])} elsewhere, and give the local path of the file"
    )


def _entity_tag(request: _Request, name: str) -> str | None:
    """The checksum that the hub keeps of a file, or whatever its server gives; None without network."""
    hub = _hub(request.address)
    url = hub.hf_hub_url(request.repo, name, revision=request.revision, endpoint=_endpoint())
    try:
        return hub.get_hf_file_metadata(url, endpoint=_endpoint()).etag or ""
    except (hub.errors.EntryNotFoundError, hub.errors.HfHubHTTPError):
        raise
    except Exception:  # of whatever HTTP library this release of huggingface_hub is built on
        return None


def _verify(path: Path, expected: str, url: str) -> None:
    """Compares a file with its checksum, if that is one."""
    if re.fullmatch(r"[0-9a-f]{64}", expected):
        digest = hashlib.sha256()
    elif re.fullmatch(r"[0-9a-f]{40}", expected):
        digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    else:  # a cache without links, or a server that is not the hub: there is nothing to compare with
        return
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    if digest.hexdigest() != expected:
        raise ValueError(
            f"{path}: its checksum is {digest.hexdigest()}, expected {expected} of {url}; "
            "it is damaged: delete it and load again"
        )


def _read_config(path: Path) -> Preprocessing | None:
    try:
        config = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}); delete it and load again") from error
    found = config.get("pretrained_cfg") if isinstance(config, dict) else None
    return preprocessing_from_timm(found) if isinstance(found, dict) else None
