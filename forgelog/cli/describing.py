"""A command line as a job, in a manifest's keys. Sends nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from forgelog.cli.nodes import pairs
from forgelog.errors import InvalidInput

ENDINGS = (".yaml", ".yml", ".json")


def described_by(
    words: list[str] | None,
    *,
    name: str,
    job_id: str,
    cpus: str | None,
    memory: str | None,
    gpus: int | None,
    gpu_type: str | None,
    array: int | None,
    max_parallel: int | None,
    env: list[str] | None,
    label: list[str] | None,
    queue: str | None,
    priority: str | None,
    after: list[str] | None,
    after_any: list[str] | None,
    after_not_ok: list[str] | None,
    retries: int | None,
    backoff: str | None,
    max_backoff: str | None,
    max_runtime: str | None,
    grace: str | None,
    chdir: str | None,
    upload: bool,
    keep: list[str] | None,
    node_label: list[str] | None,
    service: dict[str, Any] | None = None,
) -> str | dict[str, Any]:
    """A manifest's path, or the job that options and words describe, in a manifest's keys. Raises `InvalidInput`."""
    options: dict[str, Any] = {
        "job_id": job_id or None,
        "env": pairs(env, "--env") or None,
        "labels": pairs(label, "--label") or None,
        "queue": queue,
        "priority": priority,
        "depends_on": _dependencies(after_ok=after, after_any=after_any, after_not_ok=after_not_ok) or None,
        "restart": _restart(retries, backoff, max_backoff, service is not None),
        "service": service,
        "max_runtime": max_runtime,
        "grace": grace,
        "working_directory": None if upload else chdir,
        "upload": (chdir or ".") if upload else None,
        "keep": _patterns(keep) or None,
        "node_selector": pairs(node_label, "--node-label") or None,
        "array": _array(array, max_parallel),
        "resources": {
            key: value
            for key, value in (("cpus", cpus), ("memory", memory), ("gpus", gpus), ("gpu_type", gpu_type))
            if value is not None
        }
        or None,
    }
    given = {key: value for key, value in options.items() if value is not None}
    if not words:
        raise InvalidInput("nothing to run: give a manifest (job.yaml), or a command behind --")
    if len(words) == 1 and (words[0] == "-" or words[0].endswith(ENDINGS)):
        if given or name:
            wrong = ", ".join(sorted(given) + (["name"] if name else []))
            raise InvalidInput(f"{wrong}: options describe a command, not a manifest; write them into {words[0]}")
        _refuse_missing(words[0])
        return words[0]
    return {"name": name or Path(words[0]).name or "job", "command": list(words), **given}


def _refuse_missing(path: str) -> None:
    """What reads manifests takes long to import; that there is no such file is told before. Raises `InvalidInput`."""
    try:
        if path != "-":
            Path(path).stat()
    except OSError as error:
        raise InvalidInput(f"can't read {path}: {error.strerror or error}") from None


def folder(chdir: str | None, no_chdir: bool, upload: bool = False) -> str | None:
    """The folder to run a command in, or with `upload` the folder to copy; None if no option names one. Raises
    `InvalidInput`.

    A relative path is the caller's, and looked for when the job is submitted. An absolute one may be another machine's,
    unless the platform is on this one.
    """
    if upload and no_chdir:
        raise InvalidInput("--upload and --no-chdir: give one of the two")
    if chdir is None:
        return None
    if no_chdir:
        raise InvalidInput("--chdir and --no-chdir: give one of the two")
    if not chdir:
        raise InvalidInput("--chdir: name a folder; --no-chdir runs in an empty one")
    if upload:
        return chdir
    if chdir.startswith("/") and not Path(chdir).is_dir():
        from forgelog.where import gateway_address

        if gateway_address().rpartition(":")[0].strip("[]") in ("127.0.0.1", "localhost", "::1"):
            raise InvalidInput(f"--chdir: there is no folder {chdir}; make it, or name another")
    return chdir


def _dependencies(**jobs: list[str] | None) -> list[dict[str, str]]:
    """The jobs by kind of dependency, in a manifest's form."""
    return [{"job": job, "kind": kind} for kind, named in jobs.items() for job in named or ()]


def _restart(retries: int | None, backoff: str | None, max_backoff: str | None, service: bool) -> dict[str, Any] | None:
    pauses = {key: value for key, value in (("backoff", backoff), ("max_backoff", max_backoff)) if value is not None}
    if service:
        return {"mode": "always", "max_restarts": retries, **pauses}
    if not retries:
        if pauses:
            raise InvalidInput(f"--{next(iter(pauses)).replace('_', '-')}: goes with --retries")
        return None
    return {"mode": "on_failure", "max_restarts": retries, **pauses}


def _array(size: int | None, max_parallel: int | None) -> dict[str, int] | None:
    if size is None:
        if max_parallel is not None:
            raise InvalidInput("--max-parallel: goes with --array")
        return None
    return {"size": size} | ({"max_parallel": max_parallel} if max_parallel is not None else {})


def _patterns(keep: list[str] | None) -> list[str]:
    """The patterns of ``--keep``. Raises `InvalidInput`, also for its former use without a pattern."""
    from events.language.path_patterns import check_pattern

    for pattern in keep or ():
        if pattern.startswith("-"):
            raise InvalidInput(
                f"--keep: takes a pattern of files to keep, such as 'results/**', and {pattern!r} is an option; "
                "--keep-running leaves the job running on Ctrl-C"
            )
        try:
            check_pattern(pattern)
        except ValueError as error:
            raise InvalidInput(f"--keep: {error}") from None
    return list(keep or ())
