"""The package: one sealed .onnx file whose metadata carries the manifest.

    [ ModelProto fields, edge.manifest, edge.golden ][ seal ][ certificate ][ signature ]
                                                      `- first appended metadata entry

The seal's value is the SHA-256 of every byte before it; an entry appended later begins with
the SHA-256 of every byte before it, its key and its payload. So no byte of a file can change
unseen. Who made the file is another question: that is what the pins in the zoo index and the
station file, and the signature, are for. Fields are walked here (models/protobuf.py), without
onnx or onnxruntime, so that a hostile file is refused before a large parser sees it.
"""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path

import msgspec

from edge.core.errors import PackageError
from models.graph import operators
from models.manifest import Manifest, checked
from models.protobuf import (
    BYTES,
    VARINT,
    Field,
    FormatError,
    entry,
    fields,
    text_pair,
)

__all__ = ["Manifest", "Package", "append", "find", "load", "replace", "seal", "zoo_index"]

MANIFEST_KEY = "edge.manifest"
GOLDEN_KEY = "edge.golden"
SEAL_KEY = "edge.content_sha256"
APPENDED_KEYS = ("edge.certificate", "edge.signature")
_OWN_KEYS = (MANIFEST_KEY, GOLDEN_KEY, SEAL_KEY, *APPENDED_KEYS)
MAX_FILE_BYTES = 256 * 2**20
MAX_MANIFEST_BYTES = 4 * 2**20
MAX_GOLDEN_BYTES = 8 * 2**20
MAX_IR_VERSION = 10  # every ONNX Runtime flavour in use loads it
ZOO = Path(__file__).parent / "zoo"

_IR_VERSION, _GRAPH, _METADATA = 1, 7, 14
# ModelProto: field number -> wire type. Training info, functions and device configurations are
# left out on purpose: an inspection network needs none, and each is a way to hide a graph.
_TOP_LEVEL = {
    1: VARINT,
    2: BYTES,
    3: BYTES,
    4: BYTES,
    5: VARINT,
    6: BYTES,
    7: BYTES,
    8: BYTES,
    14: BYTES,
}
_REPEATED = (8, _METADATA)  # operator sets and metadata; of all others one is enough
_MAX_TOP_LEVEL = 2000  # fields; a network has about ten
_DIGEST_CHARS = 64


class Package(msgspec.Struct, frozen=True):
    """A package that was read whole and found intact.

    file_sha256 covers every byte, content_sha256 the bytes before the seal; both lower case
    hex. size is in bytes. appended holds the payloads of the entries behind the seal.
    """

    path: Path
    manifest: Manifest
    file_sha256: str
    content_sha256: str
    size: int
    appended: dict[str, str] = {}

    def model_bytes(self) -> bytes:
        """The file again, for the session; PackageError if it is not the one that was checked."""
        data = _read(self.path)
        if hashlib.sha256(data).hexdigest() != self.file_sha256:
            raise PackageError(f"{self.path}: changed since it was checked")
        return data

    def golden_bytes(self) -> bytes | None:
        """The golden set's entry (models/golden.py), None without one; read from the file again.

        Not kept here: most who load a package judge no golden part.
        """
        view = memoryview(self.model_bytes())
        held = (text_pair(view[f.start : f.end]) for f in fields(view) if f.number == _METADATA)
        return next((text.encode() for key, text in held if key == GOLDEN_KEY), None)


def load(path: str | Path, *, content_sha256: str | None = None) -> Package:
    """Read and check a package file; with a pin, its content must be the pinned one.

    PackageError, one line naming the file, for anything that is not an intact package.
    """
    path = Path(path)
    data = _read(path)
    try:
        manifest_json, digest, appended = _opened(data)
        manifest = checked(manifest_json)
    except FormatError as fault:
        # A model begins with the tag of an admitted field: one byte, as all of them are below 16.
        begun = any((tag >> 3, tag & 7) in _TOP_LEVEL.items() for tag in data[:1])
        what = "" if begun else "not a package (.onnx): "
        raise PackageError(f"{path}: {what}{fault}") from None
    if content_sha256 is not None and digest != content_sha256.lower():
        raise PackageError(f"{path}: wrong digest: pinned {content_sha256}, the file has {digest}")
    return Package(path, manifest, hashlib.sha256(data).hexdigest(), digest, len(data), appended)


def find(name: str | Path, *, content_sha256: str | None = None) -> Package:
    """A package by path (ends in .onnx), or by its name in the zoo's index, which pins it."""
    if isinstance(name, Path) or name.endswith(".onnx"):
        return load(name, content_sha256=content_sha256)
    index = zoo_index()
    if name not in index:
        raise PackageError(f"no package named {name!r}; there are: {', '.join(sorted(index))}")
    file, pinned = index[name]
    if content_sha256 is not None and content_sha256.lower() != pinned:
        raise PackageError(f"{name}: pinned {content_sha256}, the zoo has {pinned}")
    package = load(file, content_sha256=pinned)
    if package.manifest.name != name:
        raise PackageError(f"{file}: named {package.manifest.name!r}, indexed as {name!r}")
    return package


def zoo_index(folder: Path = ZOO) -> dict[str, tuple[Path, str]]:
    """The zoo's packages: name -> (file, pinned content_sha256)."""
    path = folder / "index.toml"
    try:
        listed = tomllib.loads(path.read_text(encoding="utf-8"))
        return {
            name: (folder / row["file"], row["content_sha256"].lower())
            for name, row in listed.items()
        }
    except (OSError, tomllib.TOMLDecodeError, KeyError, AttributeError, TypeError) as error:
        raise PackageError(f"{path}: not a package index: {error}") from None


def seal(model_bytes: bytes, manifest: Manifest, golden: str = "") -> bytes:
    """A serialised ONNX model, without manifest, as a package file's bytes.

    golden: the text of models.golden.encoded, "" for a package without a golden set.
    PackageError if the model or the manifest would be refused on loading.
    """
    manifest_json = msgspec.json.encode(manifest)
    body = model_bytes + entry(_METADATA, MANIFEST_KEY, manifest_json.decode())
    if golden:
        body += entry(_METADATA, GOLDEN_KEY, golden)
    sealed = body + entry(_METADATA, SEAL_KEY, hashlib.sha256(body).hexdigest())
    try:
        _opened(sealed)
        checked(manifest_json)
    except FormatError as fault:
        raise PackageError(f"cannot be sealed: {fault}") from None
    return sealed


def content_of(package_bytes: bytes) -> str:
    """The content_sha256 of a package file's bytes; PackageError if it is none."""
    try:
        return _opened(package_bytes)[1]
    except FormatError as fault:
        raise PackageError(f"not a package: {fault}") from None


def unsealed(package_bytes: bytes) -> bytes:
    """The model of a package file as it was before `seal`, byte for byte."""
    view, kept = memoryview(package_bytes), bytearray()
    for item in fields(view):
        own = item.number == _METADATA and text_pair(view[item.start : item.end])[0] in _OWN_KEYS
        if not own:
            kept += view[item.at : item.end]
    return bytes(kept)


def append(package_bytes: bytes, key: str, payload: str) -> bytes:
    """A package file's bytes with a certificate or signature appended behind the seal."""
    if key not in APPENDED_KEYS:
        raise PackageError(f"{key!r} cannot be appended; allowed: {', '.join(APPENDED_KEYS)}")
    value = _chained(package_bytes, key, payload) + payload
    longer = package_bytes + entry(_METADATA, key, value)
    try:
        _opened(longer)
    except FormatError as fault:
        raise PackageError(f"cannot be appended to: {fault}") from None
    return longer


def replace(package_bytes: bytes, key: str, payload: str) -> bytes:
    """A package file's bytes with one appended entry put last, in place of an earlier one.

    The other appended entries keep their payloads. PackageError as `append`.
    """
    try:
        _, _, appended = _opened(package_bytes)
    except FormatError as fault:
        raise PackageError(f"cannot be appended to: {fault}") from None
    longer = package_bytes[: _seal_end(package_bytes)]
    for other, kept in appended.items():
        longer = longer if other == key else append(longer, other, kept)
    return append(longer, key, payload)


def _seal_end(package_bytes: bytes) -> int:
    view = memoryview(package_bytes)
    held = (item for item in fields(view) if item.number == _METADATA)
    return next(f.end for f in held if text_pair(view[f.start : f.end])[0] == SEAL_KEY)


def _chained(before: bytes | memoryview, key: str, payload: str) -> str:
    digest = hashlib.sha256(before)
    digest.update(entry(_METADATA, key, payload))
    return digest.hexdigest()


def _read(path: Path) -> bytes:
    if not path.exists():
        raise PackageError(f"{path}: no such file")
    if not path.is_file():
        raise PackageError(f"{path}: not a file")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise PackageError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise PackageError(f"{path}: over {MAX_FILE_BYTES // 2**20} MiB, too large for a package")
    return data


def _opened(data: bytes) -> tuple[bytes, str, dict[str, str]]:
    """The manifest's JSON, the content digest and the appended payloads of an intact file."""
    if not data:
        raise FormatError("empty file")
    view = memoryview(data)
    found = list(fields(view, _MAX_TOP_LEVEL))
    for item in found:
        wanted = _TOP_LEVEL.get(item.number)
        if wanted != item.wire:
            raise FormatError(f"field {item.number} of wire type {item.wire} is not admitted")
    entries = [
        (item, *text_pair(view[item.start : item.end]))
        for item in found
        if item.number == _METADATA
    ]
    seals = [item for item, key, _ in entries if key == SEAL_KEY]
    if not seals:
        raise FormatError("not sealed: no edge.content_sha256 entry, or it is damaged")
    sealed_at = seals[0].at
    digest = hashlib.sha256(view[:sealed_at]).hexdigest()
    appended: dict[str, str] = {}
    for item in found:
        if item.at >= sealed_at:
            _check_appended(view, item, digest, appended)
    body = [item for item in found if item.at < sealed_at]
    _check_model(view, body)
    manifests = [text for item, key, text in entries if key == MANIFEST_KEY]
    if len(manifests) != 1:
        raise FormatError(f"{len(manifests)} manifests, one edge.manifest entry is needed")
    manifest_json = manifests[0].encode()
    if len(manifest_json) > MAX_MANIFEST_BYTES:
        raise FormatError(f"manifest over {MAX_MANIFEST_BYTES // 2**20} MiB")
    goldens = [text for _, key, text in entries if key == GOLDEN_KEY]
    if len(goldens) > 1 or len("".join(goldens)) > MAX_GOLDEN_BYTES:
        raise FormatError(f"one edge.golden entry of {MAX_GOLDEN_BYTES // 2**20} MiB at most")
    del appended[SEAL_KEY]
    return manifest_json, digest, appended


def _check_appended(view: memoryview, item: Field, digest: str, appended: dict[str, str]) -> None:
    if item.number != _METADATA:
        raise FormatError(f"not sealed: field {item.number} behind the seal")
    key, value = text_pair(view[item.start : item.end])
    if bytes(view[item.at : item.end]) != entry(_METADATA, key, value):
        raise FormatError(f"entry {key!r} behind the seal is not in its one plain encoding")
    if key == SEAL_KEY and not appended:
        if value != digest:
            raise FormatError(f"wrong digest: sealed {value}, the file has {digest}")
        appended[SEAL_KEY] = value
        return
    if key not in APPENDED_KEYS or key in appended:
        raise FormatError(f"entry {key!r} behind the seal is not admitted, or is there twice")
    payload = value[_DIGEST_CHARS:]
    if value[:_DIGEST_CHARS] != _chained(view[: item.at], key, payload):
        raise FormatError(f"wrong digest: entry {key!r} was altered")
    appended[key] = payload


def _check_model(view: memoryview, body: list[Field]) -> None:
    for number, name in ((_IR_VERSION, "ir_version"), (_GRAPH, "graph")):
        count = sum(item.number == number for item in body)
        if count != 1:
            raise FormatError(f"{count} {name} fields, one is needed: not a plain ONNX model")
    once = [item.number for item in body if item.number not in _REPEATED]
    if len(set(once)) != len(once):
        raise FormatError("a field of the model is there twice")  # which one counts is a guess
    for item in body:
        if item.number == _IR_VERSION and not 3 <= item.value <= MAX_IR_VERSION:
            raise FormatError(f"IR version {item.value}, at most {MAX_IR_VERSION} is admitted")
        if item.number == _GRAPH:
            operators.check(view[item.start : item.end])
