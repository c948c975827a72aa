"""`make proto`: from the language's models to `types.proto`, and from all `.proto` files to the package `forgelog_pb`,
with the JSON Schemas and the AsyncAPI document in it; and the synchronous client from the asynchronous one.

python -m proto.generate                 write what is stale (nothing is imported when nothing is)
python -m proto.generate --check         change nothing; exit 1 with a diff when a committed file is stale
python -m proto.generate --schemas DIR   JSON Schemas and the AsyncAPI document as well, into DIR
python -m proto.generate --package DIR --client FILE
                                         nothing but the package, with the `.proto` files, into DIR, and the synchronous
                                         client into FILE (for a wheel)
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from difflib import unified_diff
from importlib.metadata import version
from pathlib import Path

from events.language.contexts import VARIABLE
from proto import GenerationError, sync_client

ROOT = Path(__file__).resolve().parent.parent
PB = ROOT / "forgelog_pb"
STAMP = PB / ".inputs.sha256"
LOCK = PB / ".lock"


def types_protos() -> Mapping[Path, str]:
    """Every generated `types.proto` with the text it should have."""
    from proto import shapes, text

    texts = {}
    for file in shapes.files():
        path = ROOT / "proto" / file.path
        texts[path] = text.render(file, path.read_text() if path.exists() else "")
    return texts


def documents() -> Mapping[Path, str]:
    """Every committed document that is generated, with the text it should have."""
    found: dict[Path, str] = {}
    for module in ("statemachines", "reference", "event_places", "rows", "compose", "scrapes", "commands"):
        if importlib.util.find_spec(f"proto.{module}") is not None:
            render: Callable[[], Mapping[str, str]] = importlib.import_module(f"proto.{module}").documents
            found.update({ROOT / name: text for name, text in render().items()})
    return found


def stale() -> Iterator[tuple[Path, str, str]]:
    """Committed files that are not what the models say: path, text it has, text it should have."""
    for texts in (types_protos, documents):  # one after the other: documents are made from the files of types too
        for path, wanted in texts().items():
            present = path.read_text() if path.exists() else ""
            if present != wanted:
                yield path, present, wanted


def _inputs() -> str:
    """A digest of everything the outputs depend on."""
    digest = hashlib.sha256(version("grpcio-tools").encode() + version("protobuf").encode())
    paths = [
        *(ROOT / "events").rglob("*.py"),
        *(ROOT / "services").rglob("*.py"),
        *(ROOT / "proto").glob("*.py"),
        *(ROOT / "proto").rglob("*.proto"),
        *(ROOT / "forgelog/cli").glob("*.py"),
        *(ROOT / "forgelog/client").glob("*.py"),
    ]
    for path in sorted({*paths} - {sync_client.TARGET}):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _up_to_date() -> bool:
    return (
        STAMP.exists() and STAMP.read_text() == _inputs() and any(PB.rglob("*_pb2.py")) and sync_client.TARGET.exists()
    )


def generate() -> list[Path]:
    """Brings everything up to date; the committed files it changed. Safe to run several times at once."""
    PB.mkdir(exist_ok=True)
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _up_to_date():
            return []
        changed = []
        for path, _, wanted in stale():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted)
            changed.append(path)
        from proto import compile, schemas

        compile.compile_all(ROOT)
        shutil.rmtree(PB / "schemas", ignore_errors=True)  # a type that is gone has no schema either
        schemas.write(PB / "schemas")
        sync_client.write()
        STAMP.write_text(_inputs())
        return changed


def package(target: Path) -> None:
    """The package as it is installed elsewhere, into a new folder; the checkout stays as it is.

    It has the `.proto` files too, under `proto`, as other languages' compilers take them: with the files of others that
    they import. Raises `GenerationError` when a `types.proto` is not what the models say.
    """
    from proto import compile, schemas

    for path, wanted in types_protos().items():
        if not path.exists() or path.read_text() != wanted:
            raise GenerationError(f"{path.relative_to(ROOT)} is not what the models say; run `make proto` first")
    compile.compile_all(ROOT, target)
    schemas.write(target / "schemas")
    for path in [*compile.sources(ROOT), *compile.spoken(ROOT), *compile.taken_over(ROOT)]:
        copy = target / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def forget_added_contexts() -> None:
    """Restrict the generated files to Forgelog's own contexts, even if FORGELOG_CONTEXTS adds others. Call it first."""
    os.environ.pop(VARIABLE, None)


def check() -> int:
    """Prints a diff for every stale file; the exit status."""
    status = 0
    for path, present, wanted in stale():
        name = str(path.relative_to(ROOT))
        sys.stdout.writelines(unified_diff(present.splitlines(True), wanted.splitlines(True), name, f"{name} (models)"))
        status = 1
    if status:
        print("Run `make proto` and commit the result.", file=sys.stderr)
    return status


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m proto.generate", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="exit 1 with a diff when something is stale")
    parser.add_argument("--schemas", type=Path, metavar="DIR", help="write JSON Schemas and asyncapi.json into DIR")
    parser.add_argument("--package", type=Path, metavar="DIR", help="write the package alone, into DIR")
    parser.add_argument("--client", type=Path, metavar="FILE", help="with --package: the synchronous client, into FILE")
    options = parser.parse_args()
    forget_added_contexts()
    if options.check:
        return check()
    try:
        if options.package:
            package(options.package)
            if options.client:
                sync_client.write(options.client)
            return 0
        for path in generate():
            print(f"wrote {path.relative_to(ROOT)}")
    except GenerationError as error:
        print(f"make proto: {error}", file=sys.stderr)
        return 1
    if options.schemas:
        schemas = importlib.import_module("proto.schemas")
        print(f"wrote {schemas.write(options.schemas)} files below {options.schemas}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
