"""No sanitizer (of addresses, of undefined behaviour) objects to the C files while the tests of what they promise run.

Those tests run in a process of their own: the interpreter that loads the log's helper has to be started with the
sanitizer's runtime.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from events.log.native import digest_of
from tests.unit.native import building

ROOT = Path(__file__).parents[3]
LIMIT = 600.0
"""Seconds for the tests of a file; one that hangs ends by itself before."""


@pytest.fixture
def flags(sanitizers: tuple[str, ...]) -> tuple[str, ...]:
    if not sanitizers:
        pytest.skip("the compiler has no runtime for its sanitizers here")
    return sanitizers


def check(folder: Path, *tests: str, **environment: str) -> None:
    """The tests pass under the sanitizers, and these have nothing to say."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.unit.native.under_sanitizers",
        "-p",
        "no:cacheprovider",
    ]
    command += [
        "--hypothesis-profile",
        "sanitizers",
        "--capture",
        "no",
    ]  # what was captured goes with a process that ends
    variables = {**os.environ, "FORGELOG_TEST_SANITIZED": str(folder), **environment}
    said = folder / "said"
    with said.open("wb") as file:  # a pipe would be held open by what a failed test leaves behind
        done = subprocess.run([*command, *tests], cwd=ROOT, env=variables, stdout=file, stderr=file, timeout=LIMIT)
    text = said.read_text(errors="replace")
    report = re.search(r".*(runtime error:|Sanitizer)", text)
    assert report is None, text[report.start() :][:3000]
    assert done.returncode == 0, text[-5000:]


@pytest.mark.slow
@pytest.mark.skipif(not building.has_headers(), reason="Python's headers are not installed")
def test_the_log_s_helper(tmp_path: Path, flags: tuple[str, ...]) -> None:
    source = f'-DSOURCE="{digest_of(building.RECORDS)}"'
    problem = building.build(building.RECORDS, tmp_path / "_records.so", [*building.MODULE, source, *flags])
    assert not problem, problem
    runtime = subprocess.run(
        [building.compiler(), "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    check(
        tmp_path,
        "tests/unit/log/test_native.py",
        "tests/unit/log/test_repeats.py",
        "tests/unit/log/test_json_members.py",
        "tests/unit/native/test_record_numbers.py",
        LD_PRELOAD=runtime,
        PYTHONMALLOC="malloc",  # else a byte beyond an object is within Python's own memory as a rule
        ASAN_OPTIONS="detect_leaks=0",
        UBSAN_OPTIONS="print_stacktrace=1",
    )


@pytest.mark.slow
def test_the_launcher_and_its_wardens(tmp_path: Path, flags: tuple[str, ...]) -> None:
    assert flags
    check(tmp_path, "tests/unit/agent/test_warden.py", "tests/unit/agent/test_full_disk.py", "-k", "native")
    assert list(tmp_path.glob("launcher-*")), "the launcher was not built with them"
