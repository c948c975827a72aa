# ruff: noqa
# fmt: off
"""Module of this package → its commands → what `forgelog --help` says of them.

Generated from the modules' `COMMANDS` by `make proto`: change those, not this file.
"""

from __future__ import annotations

MODULES: dict[str, dict[str, str]] = {
    "platform": {
        "up": "Start the platform, or bring a running one to what is asked for.",
        "down": "Stop the platform; its data stays. Running jobs are named first: they end, and begin anew at the next `up`.",
        "status": "Show the platform's processes, and what waits where. Exits with 3 when it is not up, or does not do its work.",
        "doctor": "Check what the platform needs on this machine, and say how to get it. Exit code 1 if something is off.",
    },
    "token": {
        "token": "Print the platform's key: curl -H \"Authorization: Bearer $(forgelog token)\" ...",
    },
    "demo": {
        "demo": "Train models on a two-node cluster, kill a service on the way, and prove that nothing was lost.",
    },
    "submitting": {
        "submit": "Submit the jobs of a manifest, or one command, and print their ids.",
        "run": "Submit one job, show what it prints, and exit with its code. Ctrl-C cancels it, twice leaves at once.",
    },
    "jobs": {
        "ps": "List jobs, newest first; live ones and those that ended in the last hour unless told otherwise.",
        "wait": "Wait until jobs have ended. Exits with the first exit code that is not 0.",
        "cancel": "Stop jobs: waiting tasks never start, running ones get TERM and, after the job's grace, KILL.",
        "requeue": "Run the failed and cancelled tasks of ended jobs again, as new attempts.",
    },
    "show": {
        "show": "Show a job: where it is, what it was given, its tasks (failed ones first), every attempt, and why it waits or ended.",
        "why": "Say why a job waits: its place in the queue and what each group of nodes lacks, or the jobs it depends on.",
    },
    "queues": {
        "queue": "Show queues and what waits in them; create, change or delete one.",
    },
    "output": {
        "logs": "Show what a job printed: its output to standard output, its errors to standard error.",
    },
    "fetch": {
        "fetch": "Fetch the files that a job keeps (`--keep`); those of an array's tasks into folders of their numbers.",
    },
    "nodes": {
        "nodes": "Show nodes; cordon, drain, label, taint or remove one.",
    },
    "log": {
        "history": "Show all events of one aggregate, or all that the filters let through, each behind those that led to it.",
        "replay": "Fold an aggregate's history again, event by event, and show what each one changed.",
        "watch": "Show events as they happen, until Ctrl-C. JSON is one event a line.",
    },
    "maintenance": {
        "rebuild": "Build a service's tables anew from the whole log while the old ones serve, or check that nothing differs.",
        "deadletters": "Input that was no command, or no piece of a stream: list it, look at it, put it back.",
    },
    "audit": {
        "audit": "Prove that the history is the one that was written.",
    },
    "export": {
        "export": "Write the events of a span of time with their envelopes to a file, oldest first.",
    },
    "repair": {
        "repair": "Show the records that stop a place, and why; pass over one, or have it tried again.",
    },
    "objects": {
        "objects": "Files that jobs were given: list them, remove what nothing names.",
    },
}
