"""A process that `tests.warm` forks is as one that the interpreter starts: words, variables, streams, signals, code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests import PATIENCE, warm

pytestmark = pytest.mark.slow

TELLS = """
import json, os, sys
told = {"words": sys.argv[1:], "folder": os.getcwd(), "mine": os.environ.get("MINE"), "read": sys.stdin.read()}
told |= {"name": __name__, "forks": "WARM_PYTHON" in os.environ, "warm": "services.gateway.server" in sys.modules}
print(json.dumps(told))
print("to errors", file=sys.stderr)
sys.exit(7)
"""
SLEEPS = "import time; print('here', flush=True); time.sleep(1000)"


@pytest.fixture(scope="module", autouse=True)
def forking() -> Iterator[None]:
    if os.environ.get(warm.VARIABLE):
        yield
    else:
        with warm.running() as path, pytest.MonkeyPatch.context() as patch:
            patch.setenv(warm.VARIABLE, str(path))
            yield


def program(folder: Path, text: str) -> str:
    (folder / "program.py").write_text(text)
    return str(folder / "program.py")


@pytest.mark.parametrize(
    ("variables", "at_start"),
    [
        ({}, False),
        ({"GRPC_VERBOSITY": "NONE"}, False),
        ({"GRPC_VERBOSITY": "ERROR", "OTEL_RESOURCE_ATTRIBUTES": "a=b"}, False),
        ({"TZ": "Europe/Berlin"}, True),
    ],
    ids=["forked", "of a client", "read later", "started"],
)
def test_it_has_its_words_its_variables_its_folder_and_its_streams(
    tmp_path: Path, variables: dict[str, str], at_start: bool
) -> None:
    done = subprocess.run(
        [*warm.PYTHON, program(tmp_path, TELLS), "one", "two words"],
        cwd=tmp_path, env={**os.environ, "MINE": "é", **variables}, input="given", capture_output=True, text=True,
    )  # fmt: skip
    told = {"words": ["one", "two words"], "folder": str(tmp_path), "mine": "é", "forks": at_start}
    assert json.loads(done.stdout) == {**told, "name": "__main__", "read": "given", "warm": not at_start}
    assert (done.returncode, done.stderr) == (7, "to errors\n")


@pytest.mark.parametrize("at_once", ["", "1"])
def test_what_it_writes_comes_in_the_order_in_which_the_interpreter_s_does(tmp_path: Path, at_once: str) -> None:
    text = "import sys; print('out'); print('error', file=sys.stderr); print('more')"
    environment = {**os.environ, "PYTHONUNBUFFERED": at_once}
    came = [
        subprocess.run(
            [*python, program(tmp_path, text)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ).stdout
        for python in ((sys.executable,), warm.PYTHON)
    ]
    assert came[0] == came[1]
    assert came[0].split()[0] == (b"out" if at_once else b"error")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGKILL, -9)]
)
def test_signals_reach_it_and_what_ends_it_is_told(tmp_path: Path, number: int, code: int) -> None:
    command = [*warm.PYTHON, program(tmp_path, f"import os; print(os.getpid(), flush=True); {SLEEPS}")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        forked = psutil.Process(int(process.stdout.readline()))
        assert forked.pid != process.pid
        process.send_signal(number)
        assert process.wait(PATIENCE) == code
        forked.wait(PATIENCE)


def test_it_is_spoken_to_as_a_child(tmp_path: Path) -> None:
    with (tmp_path / "output").open("wb") as output:
        process = warm.start([program(tmp_path, SLEEPS)], os.environ, tmp_path, output)
    assert isinstance(process, warm.Forked)
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    until = time.monotonic() + PATIENCE
    while not (tmp_path / "output").read_text() and time.monotonic() < until:
        time.sleep(0.01)
    assert (tmp_path / "output").read_text() == "here\n"
    process.terminate()
    assert process.wait(PATIENCE) == process.poll() == -signal.SIGTERM
    process.kill()  # which has ended: nobody is signalled
