"""A bundle's manifest: the files of a folder, each with its path, mode and digest. It is an object itself.

    {"forgelog_bundle":1}
    {"path":"run.sh","digest":"4f2a...","size":120,"executable":true}
    {"path":"src/train.py","digest":"af13...","size":4711}

Each line is JSON and describes a file. A manifest is untrusted input, so it is checked before use: no path leaves the
folder or goes through a file, there are no links and no devices, and the number and the length of files are bounded.
The number and the length of lines are checked before any line is parsed: JSON of 32 MiB can take gigabytes of memory.
Pure.
"""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from events.language.common import shown
from events.language.file_paths import check_path
from events.language.objects import MAX_OBJECT_BYTES, ObjectDigest, ObjectRef

MAX_FILES = 100_000
"""Most files of a bundle."""
MAX_BUNDLE_BYTES = 32 << 30
"""Most bytes of a bundle's files together: 32 GiB."""
MAX_MANIFEST_BYTES = 32 << 20
"""Longest manifest."""
_MAX_LINE_BYTES = 8192
"""Longest line: a path with every character escaped, and the other fields."""
_HEAD = b'{"forgelog_bundle":1}'
"""The first line: identifies a manifest and its version."""
_LATER = re.compile(rb'\{"forgelog_bundle":(?:[2-9]|[1-9][0-9])')
"""The beginning of a manifest of any version."""
_DIGEST = re.compile(rb'"digest":"([0-9a-f]{64})"')


class NoManifest(ValueError):
    """The bytes are not a valid manifest; the text says why."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class BundleFile(_Strict):
    """A file of a bundle."""

    path: Annotated[str, AfterValidator(check_path)]
    """In the folder, with `/` between names: `src/train.py`."""
    digest: ObjectDigest
    size: Annotated[int, Field(ge=0, le=MAX_OBJECT_BYTES)]
    """Bytes."""
    executable: bool = False

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(digest=self.digest, size=self.size)


class Manifest(_Strict):
    """The files of a bundle, by their paths."""

    files: Annotated[tuple[BundleFile, ...], Field(max_length=MAX_FILES, strict=False)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        paths = {file.path for file in self.files}
        if len(paths) < len(self.files):
            raise ValueError("a path is there twice")
        for path in paths:
            at = path.find("/")
            while at >= 0:
                if path[:at] in paths:
                    raise ValueError(f"{shown(path)} goes through a file")
                at = path.find("/", at + 1)
        if self.total_bytes > MAX_BUNDLE_BYTES:
            raise ValueError(f"the files have {self.total_bytes} bytes; a bundle has at most {MAX_BUNDLE_BYTES}")
        return self

    @property
    def total_bytes(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)

    def to_bytes(self) -> bytes:
        """The stored form: equal folders have equal manifests."""
        files = sorted(self.files, key=lambda file: file.path)
        lines = (file.model_dump_json(exclude_defaults=True).encode() for file in files)
        return b"".join(line + b"\n" for line in (_HEAD, *lines))


def parse_manifest(data: bytes) -> Manifest:
    """Raises NoManifest."""
    if len(data) > MAX_MANIFEST_BYTES:
        raise NoManifest(f"it has {len(data)} bytes; a manifest has at most {MAX_MANIFEST_BYTES}")
    if not data.startswith(_HEAD + b"\n") or not data.endswith(b"\n"):
        raise NoManifest("it is no manifest, one of a later version, or cut")
    if (count := data.count(b"\n") - 1) > MAX_FILES:
        raise NoManifest(f"it has {count} files; a bundle has at most {MAX_FILES}")
    files, at = [], len(_HEAD) + 1
    for number in range(2, count + 2):
        end = data.index(b"\n", at)
        if end - at > _MAX_LINE_BYTES:
            raise NoManifest(f"line {number} has {end - at} bytes; it has at most {_MAX_LINE_BYTES}")
        try:
            files.append(BundleFile.model_validate_json(data[at:end]))
        except ValidationError as error:
            raise NoManifest(f"line {number}: {_told(error)}") from None
        at = end + 1
    try:
        return Manifest(files=tuple(files))
    except ValidationError as error:
        raise NoManifest(_told(error)) from None


def digests_in(data: bytes) -> set[str]:
    """The digests in a manifest that exceeds a bound of `parse_manifest`; it may be older than the bound. Empty if it
    is not a manifest of this version."""
    if not data.startswith(_HEAD + b"\n"):
        return set()
    return {digest.decode() for digest in _DIGEST.findall(data)}


def is_later(data: bytes) -> bool:
    """Whether the bytes begin as a manifest of a later version does."""
    return _LATER.match(data) is not None


def _told(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return ": ".join([*(".".join(map(str, first["loc"])),) * bool(first["loc"]), first["msg"]])
