"""What a model's files are, by their names and beginnings."""

from __future__ import annotations

import pickle

import pytest

from events.language.experiments.registry import ModelFormat
from events.objects.manifest import BundleFile
from services.experiments.model_files import compression_of, warnings_of


def file(path: str, start: bytes, size: int = 10) -> tuple[BundleFile, bytes]:
    return BundleFile(path=path, digest="1" * 64, size=size), start


@pytest.mark.parametrize(
    ("format", "path", "start"),
    [
        (ModelFormat.OTHER, "model.pkl", b""),
        (ModelFormat.OTHER, "weights", pickle.dumps({}, protocol=4)),
        (ModelFormat.PICKLE, "model.pt", b"PK\x03\x04"),
    ],
)
def test_a_pickle_is_warned_of(format: ModelFormat, path: str, start: bytes) -> None:
    (warning,) = warnings_of(format, [file(path, start)])
    assert warning == f"'{path}' is a pickle: to load it runs what its author wrote; load it only if you trust them"


@pytest.mark.parametrize(
    ("format", "path", "start"),
    [
        (ModelFormat.TORCHSCRIPT, "model.pt", b"PK\x03\x04"),
        (ModelFormat.SAFETENSORS, "model.safetensors", b"\x40\0\0\0"),
        (ModelFormat.ONNX, "model.onnx", b"\x08\x07"),
        (ModelFormat.OTHER, "model.json", b"{}"),
    ],
)
def test_what_runs_nothing_is_not(format: ModelFormat, path: str, start: bytes) -> None:
    assert warnings_of(format, [file(path, start)]) == ()


def test_a_format_that_no_file_has_is_told() -> None:
    told = ("it is said to be onnx, and no file ends in .onnx",)
    assert warnings_of(ModelFormat.ONNX, [file("model.txt", b"x")]) == told


def test_the_largest_file_tells_the_compression() -> None:
    found = [file("a.json", b"{}", 3), file("weights.gz", b"\x1f\x8b\x08", 900)]
    assert compression_of(found) == "gzip"
    assert compression_of(found[:1]) == ""
    assert compression_of([]) == ""
