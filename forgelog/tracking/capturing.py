"""What a program runs (`forgelog.capture`), captured by the process beside it as soon as the run begins, and kept in
the spool until the platform has it: the program waits for none of it, and code that changes later does not count.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from forgelog.capture import Captured, capture_program
from forgelog.tracking.spool import CAPTURED, About, read_plain

_CAPTURE = "capture.json"
MOST_BYTES = 64 << 20
"""Of an object that is read."""


def keep(folder: Path, about: About) -> None:
    """Capture the program of a session, unless it was captured already. Raises OSError."""
    if about.program is None or (folder / CAPTURED).exists():
        return
    program = about.program
    captured = capture_program(program["argv"], Path(program["folder"]), seeds=program["seeds"])
    scratch = folder / f".{CAPTURED}"
    scratch.mkdir(mode=0o700, exist_ok=True)
    for name, data in (*captured.objects.items(), (_CAPTURE, captured.capture.model_dump_json().encode())):
        with os.fdopen(os.open(scratch / name, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600), "wb") as file:
            file.write(data)
    scratch.rename(folder / CAPTURED)


def kept(folder: Path) -> Captured | None:
    """What was captured of a session; None if nothing was, or nothing that makes sense."""
    from events.language.experiments.capture import RunCapture

    if not (folder / CAPTURED).is_dir() or (folder / CAPTURED).is_symlink():
        return None
    with suppress(OSError, ValueError):
        capture = RunCapture.model_validate_json(read_plain(folder / CAPTURED / _CAPTURE, MOST_BYTES))
        return Captured(capture, dict(_objects(folder / CAPTURED)))
    return None


def _objects(folder: Path) -> Iterator[tuple[str, bytes]]:
    from blake3 import blake3

    for each in sorted(folder.iterdir()):
        if each.name != _CAPTURE:
            data = read_plain(each, MOST_BYTES)
            yield blake3(data).hexdigest(), data
