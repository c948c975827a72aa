"""Python code from all `.proto` files: the git-ignored package `forgelog_pb`.

protoc writes `forgelog/jobs/v1/types_pb2.py`; a package named `forgelog` exists already, so the tree is moved to
`forgelog_pb` and the imports are rewritten. The names inside the descriptors (what gRPC reflection shows) stay as they
are in the files. Written too: a stub of each service's `_pb2_grpc` module, for the type checker, and what the comments
say of each query (`proto.summaries`).
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from proto import GenerationError, summaries

PACKAGE = "forgelog_pb"
DESCRIBED = "described.binpb"
"""What protoc writes of the files with their comments, beside the code."""

_IMPORT = re.compile(r"^(from|import) (?:forgelog\.|(?=inference\b))", re.MULTILINE)
_SERVICE = re.compile(r"^service (\w+) \{(.*?)^\}", re.MULTILINE | re.DOTALL)
_RPC = re.compile(r"^\s*rpc (\w+)\(", re.MULTILINE)


class ProtocFailed(GenerationError):
    """protoc refused a file; its own words stand above."""


def sources(root: Path) -> list[Path]:
    """Forgelog's own `.proto` files."""
    return sorted((root / "proto/forgelog").rglob("*.proto"))


def spoken(root: Path) -> list[Path]:
    """The `.proto` files of others whose protocols we speak. Their packages keep their names; the Python code lies in
    `forgelog_pb` too."""
    return sorted((root / "proto/inference").rglob("*.proto"))


def taken_over(root: Path) -> list[Path]:
    """The `.proto` files of others that ours import. Their Python code comes with `googleapis-common-protos`."""
    return sorted((root / "proto/google").rglob("*.proto"))


def compile_all(root: Path, target: Path | None = None) -> None:
    """Generates the package into the folder `target` (`forgelog_pb` of the checkout when None). Files appear whole
    (rename), so a running reader never sees half of one."""
    from grpc_tools import protoc

    proto = root / "proto"
    include = Path(protoc.__file__).parent / "_proto"
    package = target or root / PACKAGE
    package.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=package, prefix=".build-") as folder:
        built = Path(folder)
        files = [*sources(root), *spoken(root)]
        names = [str(path.relative_to(proto)) for path in files]
        arguments = [f"--{kind}_out={built}" for kind in ("python", "pyi", "grpc_python")]
        arguments += [f"--descriptor_set_out={built / DESCRIBED}", "--include_source_info"]
        if protoc.main(["protoc", f"--proto_path={proto}", f"--proto_path={include}", *arguments, *names]) != 0:
            raise ProtocFailed(f"protoc failed on the files of {proto}")
        _rewrite(built)
        for path in files:
            _stub(path, built / path.relative_to(proto).with_suffix(""))
        (built / "forgelog/summaries.py").write_text(summaries.render((built / DESCRIBED).read_bytes()))
        _keep_apart(built / "inference")
        os.rename(built / "inference", built / "forgelog/inference")
        _install(built / "forgelog", package)


def _rewrite(built: Path) -> None:
    for path in [*built.rglob("*.py"), *built.rglob("*.pyi")]:
        path.write_text(_IMPORT.sub(rf"\1 {PACKAGE}.", path.read_text()))


_POOL = '''"""Descriptors of the Open Inference Protocol, apart from all others: its clients bring the same names."""

from google.protobuf.descriptor_pool import DescriptorPool

POOL = DescriptorPool()
'''


def _keep_apart(package: Path) -> None:
    """Puts a package's descriptors into a pool of its own. protobuf's default pool takes each name once in a process,
    and a program may have another library that speaks the same protocol."""
    (package / "pool.py").write_text(_POOL)
    for path in package.glob("*_pb2.py"):
        text = path.read_text().replace("_descriptor_pool.Default()", "_pool.POOL")
        path.write_text(text.replace("\n\n_sym_db", f"\nfrom {PACKAGE}.inference import pool as _pool\n\n_sym_db", 1))


def _stub(source: Path, target: Path) -> None:
    """The `_pb2_grpc.pyi` of a file's services: names are checked, the calls' types are left open."""
    lines = ["from typing import Any", ""]
    services = list(_services(source.read_text()))
    for service, methods in services:
        lines += [f"class {service}Stub:", "    def __init__(self, channel: Any) -> None: ..."]
        lines += [f"    {method}: Any" for method in methods]
        lines += [f"class {service}Servicer:"]
        lines += [f"    def {method}(self, request: Any, context: Any) -> Any: ..." for method in methods]
        lines += [f"def add_{service}Servicer_to_server(servicer: Any, server: Any) -> None: ...", ""]
    if services:
        target.with_name(target.name + "_pb2_grpc.pyi").write_text("\n".join(lines))


def _services(text: str) -> Iterator[tuple[str, list[str]]]:
    for match in _SERVICE.finditer(text):
        yield match[1], _RPC.findall(match[2])


def _install(built: Path, package: Path) -> None:
    """Moves new files into place, removes what no source has any more."""
    wanted: set[Path] = {package / "__init__.py"}
    for path in sorted(built.rglob("*.py*")):
        target = package / path.relative_to(built)
        target.parent.mkdir(parents=True, exist_ok=True)
        for folder in target.relative_to(package).parents:
            init = package / folder / "__init__.py"
            init.touch()
            wanted.add(init)
        os.replace(path, target)
        wanted.add(target)
    (package / "py.typed").touch()
    for path in [*package.rglob("*.py"), *package.rglob("*.pyi")]:
        if path not in wanted and not any(part.startswith(".build-") for part in path.parts):
            path.unlink()
    for cache in package.rglob("__pycache__"):
        shutil.rmtree(cache, ignore_errors=True)
