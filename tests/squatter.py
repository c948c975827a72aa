"""Another user's program that has taken a port of this machine's; only root can play it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

NOBODY = 65534

_TAKES = """
import os, socket, sys
os.setgroups([]); os.setgid({user}); os.setuid({user})
server = socket.create_server(("127.0.0.1", {port}))
print(server.getsockname()[1], flush=True)
sys.stdin.read()
"""


@contextmanager
def squatter(port: int = 0) -> Iterator[int]:
    """Listens on that port, or any free one, and answers nothing."""
    code = _TAKES.format(user=NOBODY, port=port)
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait()
