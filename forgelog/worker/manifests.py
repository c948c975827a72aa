"""Manifests as events carry them: one whose list of files is too long for an event has it in an object."""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter

from events.language.objects import ObjectRef
from events.language.pipelines.manifests import MAX_MANIFEST_BYTES, CommitFile, CommitManifest
from forgelog.pipelines.io.copying import file_digest
from forgelog.worker.handing_on import Objects

_FILES = TypeAdapter(tuple[CommitFile, ...])


def carried(manifest: CommitManifest, scratch: Path, objects: Objects) -> CommitManifest:
    """The manifest as the report has it: with all its files, or with the object that they are in now. Raises
    RemoteError."""
    if not manifest.files or len(manifest.to_json()) <= MAX_MANIFEST_BYTES:
        return manifest
    path = scratch / "files.json"
    path.write_bytes(_FILES.dump_json(manifest.files))
    ref = ObjectRef(digest=file_digest(path), size=path.stat().st_size)
    objects().put(ref, lambda: path.open("rb"))
    return manifest.model_copy(update={"files": (), "files_object": ref})


def whole(manifest: CommitManifest, scratch: Path, objects: Objects) -> CommitManifest:
    """The manifest with its files. Raises RemoteError."""
    if (ref := manifest.files_object) is None:
        return manifest
    path = scratch / "files.json"
    objects().get(ref, lambda: path.open("wb"))
    return manifest.model_copy(update={"files": _FILES.validate_json(path.read_bytes()), "files_object": None})
