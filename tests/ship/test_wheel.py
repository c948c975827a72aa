"""The wheel is complete: the generated messages, the `.proto` files, the compiled parts, and a platform that starts."""

from __future__ import annotations

import json
import re
import zipfile
from email.parser import Parser
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from forgelog.embedded import jars
from tests.ship.installing import ROOT, UV, build_wheel, python, ran, run
from tests.unit.native.building import compiler, has_headers

compiles = pytest.mark.skipif(not compiler() or not has_headers(), reason="there is no C compiler, or no Python.h")

HELPER = re.compile(r"events/log/_records\..+\.so")
LAUNCHER = re.compile(r"services/resources/agent/native/bin/launcher-.+")

ORIGIN = """
import events, forgelog, services, forgelog_pb.jobs.v1.queries_pb2_grpc as pb
print(*(each.__file__ for each in (forgelog, pb)))
"""


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_it_has_the_code_and_nothing_of_the_checkout_besides(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in names(wheel)}
    assert tops == {"events", "services", "forgelog", "forgelog_pb", "forgelog-0.1.0.dist-info"}
    assert not [name for name in names(wheel) if "__pycache__" in name or "/." in name]


def test_it_has_the_messages_their_schemas_and_the_proto_files(wheel: Path) -> None:
    found = names(wheel)
    assert {"forgelog_pb/schemas/asyncapi.json", "forgelog_pb/py.typed", "forgelog_pb/summaries.py"} <= found
    assert "forgelog/client/sync.py" in found
    protos = sorted((ROOT / "proto").rglob("*.proto"))
    with zipfile.ZipFile(wheel) as archive:
        for path in protos:
            name = path.relative_to(ROOT)
            assert archive.read(f"forgelog_pb/{name}") == path.read_bytes()
            if name.is_relative_to("proto/forgelog"):  # the code of the others comes with a package of theirs
                module = str(name.relative_to("proto/forgelog").with_suffix(""))
                assert f"forgelog_pb/{module}_pb2.py" in found


def test_the_generated_code_runs_with_the_oldest_packages_that_the_wheel_allows(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        told = Parser().parsestr(archive.read(metadata).decode()).get_all("requires-dist", [])
        messages = archive.read("forgelog_pb/jobs/v1/types_pb2.py").decode()
        calls = archive.read("forgelog_pb/jobs/v1/queries_pb2_grpc.py").decode()
    wanted = [Requirement(each) for each in told]
    oldest = {each.name: min(Version(one.version) for one in each.specifier) for each in wanted if each.specifier}
    (made_by,) = re.findall(r"^# Protobuf Python Version: (\S+)$", messages, re.MULTILINE)
    (called_by,) = re.findall(r"^GRPC_GENERATED_VERSION = '(\S+)'$", calls, re.MULTILINE)
    assert Version(made_by) <= oldest["protobuf"]
    assert Version(called_by) <= oldest["grpcio"]


@compiles
def test_it_has_the_compiled_parts_and_is_for_this_machine(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        helpers = [each for each in archive.infolist() if each.filename.endswith(".so")]
        programs = [each for each in archive.infolist() if "/bin/" in each.filename]
    assert [bool(HELPER.fullmatch(each.filename)) for each in helpers] == [True]
    assert [bool(LAUNCHER.fullmatch(each.filename)) for each in programs] == [True]
    assert programs[0].external_attr >> 16 & 0o777 == 0o755
    assert not wheel.name.endswith("-none-any.whl")


@pytest.mark.usefixtures("wheel")
def test_building_it_changes_nothing_in_the_checkout() -> None:
    kept = [*(ROOT / "events/log").glob("*.so"), *(ROOT / "services/resources/agent/native").iterdir()]
    own = {f"_records{suffix}" for suffix in EXTENSION_SUFFIXES} | {"__init__.py", "launcher.c", "__pycache__"}
    assert {each.name for each in kept} <= own


def test_without_a_compiler_it_is_pure_and_can_be_compiled_where_it_is_installed(
    tmp_path: Path, installed: Path
) -> None:
    (tmp_path / "nothing").mkdir()
    (tmp_path / "wheel").mkdir()
    wheel = build_wheel(tmp_path / "wheel", PATH=str(tmp_path / "nothing"))
    assert wheel.name.endswith("-py3-none-any.whl")
    assert {"events/log/_records.c", "services/resources/agent/native/launcher.c"} <= names(wheel)
    assert not [name for name in names(wheel) if HELPER.fullmatch(name) or LAUNCHER.fullmatch(name)]

    there = tmp_path / "site"
    ran(UV, "pip", "install", "--quiet", "--python", python(), "--no-deps", "--target", there, wheel, cwd=tmp_path)

    def helper() -> dict[str, str]:
        """What `forgelog doctor` says of it."""
        command = (installed / "forgelog", "doctor", "--output", "json", "--data", tmp_path / "data")
        checks = json.loads(run(*command, cwd=tmp_path, PYTHONPATH=str(there)).stdout)
        return next(each for each in checks if each["check"] == "log helper")

    check = helper()
    assert check["result"] == "note"
    assert check["found"].startswith("in Python")
    assert check["fix"].endswith(f"then run '{installed / 'python'} -m events.log.native'")
    if compiler() and has_headers():
        ran(installed / "python", "-m", "events.log.native", cwd=tmp_path, PYTHONPATH=str(there))
        check = helper()
        assert (check["result"], check["found"]) == ("ok", "compiled")


def test_what_takes_a_package_that_few_need_names_it(tmp_path: Path, installed: Path) -> None:
    refused = run(installed / "forgelog", "demo", "--data", tmp_path / "demo", cwd=tmp_path)
    assert refused.returncode != 0
    assert "pip install 'forgelog[demo]'" in refused.stdout
    assert not (tmp_path / "demo").exists()


@compiles
def test_a_platform_of_it_starts_works_and_is_compiled(outside: Path, installed: Path) -> None:
    """With servers of its own, whose files come with the wheel too."""
    cache = outside / "cache/forgelog"
    cache.mkdir(parents=True)
    if jars.complete(jars.folder(), jars.read_lock()):  # downloaded once per user; the launcher is not there
        (cache / jars.folder().name).symlink_to(jars.folder())
    told = {"FORGELOG_DATA": str(outside / "data"), "XDG_CACHE_HOME": str(cache.parent), "FORGELOG_GATEWAY": ""}

    def forgelog(*arguments: str) -> str:
        return ran(installed / "forgelog", *arguments, cwd=outside, **told)

    loaded = ran(installed / "python", "-c", ORIGIN, cwd=outside).split()
    assert all(Path(each).is_relative_to(outside) for each in loaded)
    try:
        forgelog("up", "--servers", "embedded")
        status = json.loads(forgelog("status", "--output", "json"))
        assert status["compiled_parts"] == "compiled"
        assert [each["native"] for each in status["contexts"]] == ["compiled"] * len(status["contexts"])
        (launchers,) = (each["launchers"] for each in status["contexts"] if each["context"] == "resources")
        assert list(launchers.values()) == ["compiled"]
        assert not list(cache.glob("launcher-*"))
        assert re.search(r"^compiled parts: +in use$", forgelog("status"), re.MULTILINE)
        assert "trained" in forgelog("run", "--memory", "64Mi", "--", "echo", "trained")
        checks = {each["check"]: each for each in json.loads(forgelog("doctor", "--output", "json"))}
        assert (checks["log helper"]["result"], checks["jobs service"]["result"]) == ("ok", "ok")
    finally:
        forgelog("down", "--yes")
