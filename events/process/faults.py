"""Named points at which a test of resilience may end this process as a power cut would, or stop it for a while.

``FORGELOG_FAULTS`` names a folder; a file ``<instance>@<point>`` in it, which holds a signal's name (SIGKILL, SIGSTOP),
has the process FORGELOG_INSTANCE send itself that signal when it next gets to that point. The file is removed first, so
that it happens once. Without the variable, which is how platforms run, a point costs one comparison. Used by
``make chaos``. The process of several contexts is ``services-0`` here.
"""

from __future__ import annotations

import os
import signal

AFTER_READ = "after-read"
"""Inputs were read and decided; nothing is appended."""
AFTER_APPEND = "after-append"
"""Kafka has the events; nobody has been told."""
AFTER_MARKER = "after-marker"
"""A writer has fenced its partitions and folded nothing yet."""
MID_ROWS = "mid-rows"
"""A projection's positions are moved, its rows not yet written, the transaction not committed."""
MID_STREAM = "mid-stream"
"""A stream's positions are moved, its rows not yet written, the transaction not committed."""
MID_SNAPSHOT = "mid-snapshot"
"""A snapshot is inserted, the older ones not removed, the transaction not committed."""
MID_REBUILD = "mid-rebuild"
"""A rebuild has filled part of the new tables."""
BEFORE_SWAP = "before-swap"
"""A rebuild has renamed the schemas; the transaction is not committed."""
BEFORE_LAUNCH = "before-launch"
"""An agent has read what to start and started nothing."""
AFTER_LAUNCH = "after-launch"
"""A process runs; its agent has reported nothing."""
AFTER_PUBLISH = "after-publish"
"""The gateway's command is in the log; its caller waits for the outcome."""

AFTER_ANSWER = "after-answer"
"""What was asked before something is ordered is answered; nothing is ordered yet."""
BEFORE_ORDER = "before-order"
"""An event's orders are known; none is published."""
AFTER_ORDER = "after-order"
"""Kafka has an event's orders; the log does not say so yet."""
BEFORE_ORDERS_SENT = "before-orders-sent"
"""A partition is about to append that its orders are sent."""

BEFORE_STAGE = "before-stage"
"""A worker has an order of a stage; its executor knows nothing of it."""
MID_STAGE = "mid-stage"
"""An executor has run a stage's transformations; nothing is written."""
AFTER_ASIDE = "after-aside"
"""A stage's rows are aside; nobody has been told."""
AFTER_PREPARED = "after-prepared"
"""The log has it that a stage's rows are aside; its worker knows that."""
BEFORE_PUBLICATION = "before-publication"
"""A version is decided; an executor is about to put it into its place."""
AFTER_PUBLICATION = "after-publication"
"""A version is in its place; nobody has been told."""
OF_WORKERS = (BEFORE_STAGE, MID_STAGE, AFTER_ASIDE, AFTER_PREPARED, BEFORE_PUBLICATION, AFTER_PUBLICATION)
"""Those of a pipeline's workers."""

IN_REACT = "in-react"
"""A partition hears a foreign event. See `raising`."""
IN_WAKE = "in-wake"
"""A partition acts by itself. See `raising`."""
IN_PROJECT = "in-project"
"""Tables fold an event. See `raising`."""
IN_DISPATCH = "in-dispatch"
"""A decider is asked what an own event orders. See `raising`."""
IN_REFUSED = "in-refused"
"""A decider hears that what it ordered is refused. See `raising`."""
IN_DUMP = "in-dump"
"""A partition's states are dumped for a snapshot. See `raising`."""
IN_TAKE = "in-take"
"""A stream takes a record. See `raising`."""

_FOLDER = os.environ.get("FORGELOG_FAULTS")
_INSTANCE = os.environ.get("FORGELOG_INSTANCE", "").replace("{context}", "services")


class Injected(Exception):
    """Raised where a test wants a defect."""


def armed() -> bool:
    """Whether this process runs under a test of resilience at all."""
    return _FOLDER is not None


def raising(name: str, what: str) -> None:
    """Raise Injected if a file ``<instance>@<point>`` names `what`. The file stays: a defect raises every time."""
    try:
        with open(f"{_FOLDER}/{_INSTANCE}@{name}") as file:
            wanted = file.read()
    except FileNotFoundError:
        return
    if wanted and wanted in what:
        raise Injected(f"a defect {name} at {what}")


def point(name: str) -> None:
    """End or stop here if that is wanted."""
    if _FOLDER is None:
        return
    path = f"{_FOLDER}/{_INSTANCE}@{name}"
    try:
        with open(path) as file:
            number = signal.Signals[file.read()]
        os.unlink(path)
    except FileNotFoundError:
        return
    os.kill(os.getpid(), number)
