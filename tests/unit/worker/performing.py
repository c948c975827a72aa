"""An executor whose stages are the functions below: run by `test_executors` as its process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import types
import warnings
from typing import Any

from forgelog.worker import child


def echo(work: Any) -> Any:
    return {"value": work["value"], "pid": os.getpid()}


def printing(_: Any) -> Any:
    print("to stdout")
    print("to stderr", file=sys.stderr)
    subprocess.run(["echo", "by a child"], check=True)
    return {}


def asking(work: Any, ask: Any) -> Any:
    return {"value": ask({"ask": "half", "of": work["value"]})}


def failing(_: Any) -> Any:
    raise ValueError("no such day: 31 February")


def exiting(_: Any) -> Any:
    sys.exit(3)


def dying(_: Any) -> Any:
    os._exit(9)


def forking(_: Any) -> Any:
    """Lets a copy of itself go on."""
    os.fork()
    return {"value": "one"}


def leaving(_: Any) -> Any:
    """Leaves a process in a session of its own, whose parent has ended."""
    subprocess.run(["sh", "-c", "setsid sleep 600 & echo started"], check=True)
    return {}


def threading_on(_: Any) -> Any:
    threading.Thread(target=time.sleep, args=(600,), name="ticker", daemon=True).start()
    return {}


kept: list[bytearray] = []


def leaking(work: Any) -> Any:
    memory = bytearray(work["mebibytes"] << 20)
    memory[::4096] = b"x" * (len(memory) // 4096)
    kept.append(memory)
    return {}


def devouring(_: Any) -> Any:
    while True:
        kept.append(bytearray(os.urandom(1 << 20) * 16))
        time.sleep(0.01)


def sleeping(_: Any) -> Any:
    subprocess.run(["sleep", "600"], check=True)
    return {}


def warning(work: Any) -> Any:
    warnings.simplefilter("always")
    for number in range(work["count"]):
        print(f"Warning {number}: this is deprecated")
    return {}


def moving(_: Any) -> Any:
    os.chdir("/")
    os.environ["MOVED"] = "yes"
    return {}


def looking(_: Any) -> Any:
    return {"value": [os.getcwd(), os.environ.get("MOVED", "")]}


def perform(work: Any, ask: Any) -> Any:
    do = globals()[work["do"]]
    return do(work, ask) if do is asking else do(work)


if __name__ == "__main__":
    stage = types.ModuleType("forgelog.worker.stage")
    vars(stage)["perform"] = perform
    sys.modules[stage.__name__] = stage
    child.LIBRARIES = (stage.__name__,)
    raise SystemExit(child.main())
