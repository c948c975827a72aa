"""Which launcher an agent uses: the compiled one that came with the package, one built at its first use, or Python's.

A wheel that was built where there is a C compiler has the program in ``native/bin`` (see ``hatch_build.py``), so that a
machine or an image without a compiler starts tasks by it too. ``FORGELOG_PURE=1`` goes without it, as everywhere.
"""

from __future__ import annotations

from pathlib import Path

from events.language.resources.hardware import LAUNCHER_LABEL, NodeSpec
from events.log.native import COMPILED, PURE, unwanted
from services.resources.agent import native

MAX_LABELS = 64
"""Of a node (`NodeSpec.labels`)."""

FOLDER = native.SOURCE.parent / "bin"
"""Of the program that came with the package; not there in a checkout, nor in a wheel without compiled parts."""


def launcher() -> Path | None:
    """The program; None where the launcher in Python must do. Blocks, for seconds where it is built first."""
    if unwanted():
        return None
    if FOLDER.is_dir() and (found := native.launcher(FOLDER)) is not None:
        return found
    return native.launcher()


def labelled(spec: NodeSpec, program: Path | None) -> NodeSpec:
    """The node as its agent announces it, with what starts its tasks."""
    if len(spec.labels) >= MAX_LABELS:  # those that its operator gave go first
        return spec
    status = PURE if program is None else COMPILED
    return spec.model_copy(update={"labels": {**spec.labels, LAUNCHER_LABEL: status}})
