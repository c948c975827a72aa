"""What a program runs, captured unasked so that it can be reproduced: `capture()`. Sends nothing.

A part that can't be captured is no error: the capture says what it left out, and why. Secrets are kept out: see
`forgelog.capture.secrets`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from events.language.experiments.capture import RunCapture
    from events.language.objects import ObjectRef

T = TypeVar("T")

_SITE = ("site-packages", "dist-packages")


class Captured(NamedTuple):
    """What was captured, and the bytes that belong into the object store before it is published."""

    capture: RunCapture
    objects: Mapping[str, bytes]
    """By digest (BLAKE3)."""


def capture(*, seeds: Mapping[str, int] | None = None) -> Captured:
    """What this process runs: code, command, packages, machine, seeds. Blocks, for about 0.1 s in most repositories.

    `seeds`: those that the program has set, by a name such as ``numpy``. Changes nothing in the repository. Raises
    nothing but `InvalidInput`, for a seed that is none.
    """
    return _captured(sys.orig_argv, program_folder(), os.environ, seeds or {}, own=True)


def capture_program(argv: Sequence[str], folder: Path, *, seeds: Mapping[str, int]) -> Captured:
    """As `capture`, of the program that started this one, here and with the same environment. `folder`: where its main
    file is, as `program_folder` tells it there."""
    return _captured(argv, folder, os.environ, seeds, own=True)


def capture_command(argv: Sequence[str], folder: Path, variables: Mapping[str, str]) -> Captured:
    """What a job is submitted with: code and command. Machine and packages are those of the node; a program there that
    calls `forgelog.run` adds them. `variables`: those that the job is given."""
    return _captured(argv, folder, variables, {}, own=False)


def program_folder() -> Path:
    """The folder of the program's main file; the current one if that is installed, or if there is none."""
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    if main and not any(part in _SITE for part in Path(main).parts) and Path(main).is_file():
        return Path(main).resolve().parent
    return Path.cwd()


def _captured(
    argv: Sequence[str], folder: Path, variables: Mapping[str, str], seeds: Mapping[str, int], *, own: bool
) -> Captured:
    from blake3 import blake3

    from events.language.experiments.capture import CapturePart, LeftOut, RunCapture
    from events.language.objects import ObjectRef
    from forgelog.capture import machine, packages, program, repository
    from forgelog.capture.secrets import printable

    objects: dict[str, bytes] = {}
    left: list[LeftOut] = []

    def keep(data: bytes) -> ObjectRef:
        digest = blake3(data).hexdigest()
        objects[digest] = data
        return ObjectRef(digest=digest, size=len(data))

    def part(name: CapturePart, work: Callable[[], T]) -> T | None:
        try:
            return work()
        except repository.NoCode as error:
            why = str(error)
        except Exception as error:  # noqa: BLE001 - a program is never stopped by its capture, which tells of it
            why = f"{type(error).__name__}: {error}"
        left.append(LeftOut(part=name, why=printable(why)))
        return None

    code = part(CapturePart.CODE, lambda: repository.captured(folder, keep, left))
    base = Path(code.folder) if code else folder
    fields: dict[str, Any] = {
        "code": code,
        "program": part(
            CapturePart.PROGRAM, lambda: program.captured(argv, Path.cwd() if own else folder, base, variables, left)
        ),
        "seeds": program.seeds(seeds, variables, left),
    }
    if own:
        fields["packages"] = part(CapturePart.PACKAGES, lambda: packages.captured(folder, base, keep, left))
        fields["machine"] = part(CapturePart.MACHINE, machine.captured)
    return Captured(RunCapture(**fields, left_out=_told(left)), objects)


def _told(left: Sequence[Any]) -> Sequence[Any]:
    """As many as a capture may have; the last says how many more there were."""
    from events.language.experiments.capture import MAX_LEFT_OUT, CapturePart, LeftOut

    if len(left) <= MAX_LEFT_OUT:
        return left
    more = len(left) - MAX_LEFT_OUT + 1
    return [*left[: MAX_LEFT_OUT - 1], LeftOut(part=CapturePart.CODE, why=f"{more} more were left out")]
