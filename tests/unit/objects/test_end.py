"""Given a program that ends behind its last object, while obstore still tells it of that, then it ends well."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import asyncio, sys, threading, time
from events.objects.store import Objects

main = threading.get_ident()


class Loop(asyncio.SelectorEventLoop):
    def _write_to_self(self):
        super()._write_to_self()
        if threading.get_ident() != main:
            time.sleep(0.5)  # obstore's thread: it has woken the program, and has yet to return


async def keep():
    objects = Objects(sys.argv[1])
    print(await objects.read(await objects.put(b"kept")))


loop = Loop()
loop.run_until_complete(keep())
"""


def test_a_program_ends_well_while_obstores_thread_is_in_python(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path.as_uri()],
        env={name: value for name, value in os.environ.items() if not name.startswith(("FORGELOG_", "AWS_"))},
        capture_output=True,
        text=True,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "b'kept'\n", "")
