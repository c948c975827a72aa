"""`eventsourcing` on Postgres: python eventsourcing_peer.py COUNT prints JSON; POSTGRES_* name the server.

A job is an aggregate; submitting one appends two events in one transaction, as Forgelog's submit does. Replay decodes
every event from the notification log.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event


class Job(Aggregate):
    @event("Submitted")
    def __init__(self, name: str, command: str, owner: str) -> None:
        self.name, self.command, self.owner = name, command, owner
        self.queued = False

    @event("Queued")
    def queue(self, attempt: int) -> None:
        self.queued = attempt > 0


class Jobs(Application):
    def submit(self, number: int) -> None:
        job = Job(f"job-{number}", "true", "local")
        job.queue(1)
        self.save(job)


def main(count: int) -> None:
    app = Jobs()
    for number in range(50):
        app.submit(number)
    began = time.perf_counter()
    for number in range(count):
        app.submit(number)
    appended = 2 * count / (time.perf_counter() - began)
    began = time.perf_counter()
    decoded, start = 0, 1
    while notifications := app.recorder.select_notifications(start, 10_000):
        for notification in notifications:
            app.mapper.to_domain_event(notification)
        decoded += len(notifications)
        start = notifications[-1].id + 1
    replayed = decoded / (time.perf_counter() - began)
    print(json.dumps({"version": version("eventsourcing"), "appended_per_s": appended, "replayed_per_s": replayed}))
    app.close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
