"""What a model's files are, told by their names and their first bytes. Pure; opens and runs nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from events.language.common import shown
from events.language.experiments.registry import ModelFormat
from events.objects.manifest import BundleFile

Beginnings = Sequence[tuple[BundleFile, bytes]]
"""Files, and the first bytes of each."""

_COMPRESSED: Mapping[bytes, str] = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x04\x22\x4d\x18": "lz4",
}
"""Magic numbers (RFC 1952, RFC 8878, the formats' own documents)."""

_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""`PROTO` and the protocol's number (PEP 3154, PEP 574)."""

_PICKLE_ENDINGS = (".pkl", ".pickle", ".joblib")

_TORCH_ENDINGS = (".pt", ".pth", ".bin", ".ckpt")
_ZIP = b"PK\x03\x04"

_ENDINGS: Mapping[ModelFormat, tuple[str, ...]] = {
    ModelFormat.ONNX: (".onnx",),
    ModelFormat.TORCHSCRIPT: (".pt", ".pth", ".ts", ".torchscript"),
    ModelFormat.SAFETENSORS: (".safetensors",),
    ModelFormat.SAVED_MODEL: ("saved_model.pb", "saved_model.pbtxt"),
    ModelFormat.PICKLE: (*_PICKLE_ENDINGS, *_TORCH_ENDINGS),
}
"""How the name of some file ends in a version of the format."""


def compression_of(beginnings: Beginnings) -> str:
    """How the largest file is compressed; empty if it is not."""
    _, start = max(beginnings, key=lambda each: each[0].size, default=(None, b""))
    return next((name for magic, name in _COMPRESSED.items() if start.startswith(magic)), "")


def warnings_of(wanted: ModelFormat, beginnings: Beginnings) -> tuple[str, ...]:
    """What one should know before one uses the files, in words."""
    found = [
        f"{shown(file.path)} is a pickle: to load it runs what its author wrote; load it only if you trust them"
        for file, start in beginnings
        if _is_pickle(wanted, file, start)
    ]
    endings = _ENDINGS.get(wanted, ())
    if endings and not any(file.path.endswith(endings) for file, _ in beginnings):
        found.append(f"it is said to be {wanted.value}, and no file ends in {' or '.join(endings)}")
    return tuple(found[:100])


def _is_pickle(wanted: ModelFormat, file: BundleFile, start: bytes) -> bool:
    if file.path.endswith(_PICKLE_ENDINGS) or start.startswith(_PICKLES):
        return True
    # torch.save writes a zip that has a pickle in it; so does TorchScript, which reads it without running it.
    return start.startswith(_ZIP) and file.path.endswith(_TORCH_ENDINGS) and wanted is not ModelFormat.TORCHSCRIPT
