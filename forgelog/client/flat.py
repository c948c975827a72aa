"""A client's calls without a namespace: `submit`, `run`, `job`, `upload`, and the names of the last release."""

from __future__ import annotations

from forgelog.client.jobs import AsyncJobs
from forgelog.client.log import AsyncLog
from forgelog.client.names import moved, shortcut
from forgelog.client.nodes import AsyncNodes
from forgelog.client.queues import AsyncQueues


class AsyncFlat:
    """What a client has at the top for its namespaces. ``client.jobs(...)``, ``client.queues()`` and
    ``client.nodes()``, of the last release too, are calls of the namespaces themselves."""

    submit = shortcut("jobs", AsyncJobs.submit)
    run = shortcut("jobs", AsyncJobs.run)
    job = shortcut("jobs", AsyncJobs.job)
    upload = shortcut("jobs", AsyncJobs.upload)

    submit_many = moved("jobs", AsyncJobs.submit_many)
    get = moved("jobs", AsyncJobs.get)
    find = moved("jobs", AsyncJobs.find)
    dependencies = moved("jobs", AsyncJobs.dependencies)
    tasks = moved("jobs", AsyncJobs.tasks)
    attempts = moved("jobs", AsyncJobs.attempts)
    watch_jobs = moved("jobs", AsyncJobs.watch)
    wait = moved("jobs", AsyncJobs.wait)
    logs = moved("jobs", AsyncJobs.logs)
    cancel = moved("jobs", AsyncJobs.cancel)
    requeue = moved("jobs", AsyncJobs.requeue)
    why = moved("jobs", AsyncJobs.why)

    entries = moved("queues", AsyncQueues.entries)
    create_queue = moved("queues", AsyncQueues.create)
    delete_queue = moved("queues", AsyncQueues.delete)
    configure_queue = moved("queues", AsyncQueues.configure)

    node = moved("nodes", AsyncNodes.get)
    find_node = moved("nodes", AsyncNodes.find)
    pools = moved("nodes", AsyncNodes.pools)
    allocations = moved("nodes", AsyncNodes.allocations)
    cordon = moved("nodes", AsyncNodes.cordon)
    uncordon = moved("nodes", AsyncNodes.uncordon)
    drain = moved("nodes", AsyncNodes.drain)
    label = moved("nodes", AsyncNodes.label)
    taint = moved("nodes", AsyncNodes.taint)
    remove_node = moved("nodes", AsyncNodes.remove)

    history = moved("log", AsyncLog.history)
    watch = moved("log", AsyncLog.watch)
    until_shown = moved("log", AsyncLog.until_shown)
    status = moved("log", AsyncLog.status)
