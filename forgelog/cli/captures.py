"""`runs capture`: what a run ran."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgelog.cli.common import AtOption, OutputOption, moment, with_client
from forgelog.cli.render import Format, note, show_data, show_fields, write
from forgelog.errors import NotFound
from forgelog.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from forgelog.client.aio import AsyncClient

SHORT = 12
"""Digits of a commit that are shown."""


def show(
    id: Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")],
    changes: Annotated[bool, typer.Option("--changes", help="Print the uncommitted changes, as a patch.")] = False,
    packages: Annotated[bool, typer.Option("--packages", help="Print the packages, as pip reads them.")] = False,
    lock: Annotated[bool, typer.Option("--lock", help="Print the lock file.")] = False,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show what a run ran: code, command, packages, machine, seeds, and what was left out."""
    wanted = [name for name, given in (("changes", changes), ("installed", packages), ("lock", lock)) if given]

    async def work(client: AsyncClient) -> tuple[Any, list[bytes]]:
        found = await client.captures.get(id, at=moment(at))
        parts = {**(found.capture.code or {}), **(found.capture.packages or {})}
        if missing := [name for name in wanted if not parts.get(name)]:
            raise NotFound(
                f"run {id} has no captured {_NAMES[missing[0]]}; `forgelog runs capture {id}` shows what it has"
            )
        return found, [await client.captures.read(parts[name]) for name in wanted]

    found, texts = with_client(work)
    if texts:
        for text in texts:
            write(text.decode(errors="replace"))
    elif output is not Format.TABLE:
        show_data(found, output)
    else:
        show_fields(_fields(found["capture"]), title=id)
        for each in found["capture"]["left_out"]:
            what = f"{each['part']}: {each['what']}" if each["what"] else each["part"]
            note(f"not captured: {what}: {each['why']}")


_NAMES = {"changes": "changes of its code", "installed": "packages", "lock": "lock file"}


def _fields(capture: Mapping[str, Any]) -> dict[str, object]:
    found: dict[str, object] = {}
    if (code := capture["code"]) is not None:
        branch = f" ({code['branch']})" if code["branch"] else ""
        found["commit"] = f"{code['commit'][:SHORT] or 'none yet'}{branch}"
        found["repository"] = code["repository"]
        found["folder"] = code["folder"]
        if code["changes"] is not None:
            files = code["changed_files"]
            size = format_bytes(code["changes"]["size"])
            found["changes"] = f"{files} file{'' if files == 1 else 's'}, a patch of {size}B (--changes)"
        found["submodules"] = [f"{each['path']} {each['commit'][:SHORT]}" for each in code["submodules"]]
    if (program := capture["program"]) is not None:
        found["command"] = shlex.join(program["argv"])
        found["working directory"] = program["working_directory"]
        found["settings"] = [f"{name}={value}" for name, value in program["settings"].items()]
        found["variables"] = f"{len(program['variables'])} names"
    if (packages := capture["packages"]) is not None:
        found["python"] = f"{packages['implementation']} {packages['python']}"
        found["packages"] = f"{packages['count']} (--packages)"
        found["lock file"] = f"{packages['lock_path']} (--lock)" if packages["lock_path"] else ""
    if (machine := capture["machine"]) is not None:
        memory = f"{format_bytes(machine['memory_bytes'])}B"
        found["host"] = f"{machine['host']}, {machine['system']}, {machine['cpus']} CPUs, {memory}"
        found["processor"] = machine["processor"]
        found["GPUs"] = [f"{gpu['name']} {format_bytes(gpu['memory_bytes'])}B" for gpu in machine["gpus"]]
        found["image"] = machine["image"] or (
            "a container, which does not tell its image" if machine["container"] else ""
        )
    found["seeds"] = [f"{name}={seed}" for name, seed in capture["seeds"].items()]
    return found
