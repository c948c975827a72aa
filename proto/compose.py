"""What `docker-compose.yml` says of the contexts: their services, one for those that are together, and where the others
find each.

The file is written by hand but for these parts, each between a line ``# BEGIN <part>`` and a line ``# END <part>``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from events.language.contexts import TOGETHER, ContextSpec, contexts, processes
from proto import GenerationError

ROOT = Path(__file__).resolve().parent.parent
TARGET = "docker-compose.yml"

_SERVICE = """\
  {name}:
    <<: *service
    command: [{command}]
    environment: {{ <<: *environment, FORGELOG_INSTANCE: {instance} }}
    volumes: ["keys:/keys", "objects:/objects", "replicas:/replicas"]
"""


def documents() -> Mapping[str, str]:
    """The one file."""
    return {TARGET: render((ROOT / TARGET).read_text(), contexts())}


def render(text: str, specs: Mapping[str, ContextSpec]) -> str:
    """The file with its generated parts anew. Raises GenerationError when the lines around one are missing."""
    found = processes(specs)
    where = {name: process for process, hosted in found.items() for name in hosted}
    addresses = ",".join(f"{name}={where[name]}:5000" for name in specs)
    services = "\n".join(
        _SERVICE.format(name=name, command=", ".join(["services", *hosted]), instance='"{context}-0"')
        if name == TOGETHER
        else _SERVICE.format(name=name, command=specs[name].package, instance=f"{name}-0")
        for name, hosted in found.items()
    )
    return put(put(text, "addresses", f"  FORGELOG_SERVICES: {addresses}\n"), "contexts", services)


def put(text: str, part: str, content: str, target: str = TARGET) -> str:
    """A file with one of its generated parts anew. Raises GenerationError when the lines around it are missing."""
    around = re.compile(rf"(^ *# BEGIN {part}\b[^\n]*\n).*?(^ *# END {part}$)", re.DOTALL | re.MULTILINE)
    found, count = around.subn(lambda match: match[1] + content + match[2], text)
    if count != 1:
        raise GenerationError(f"{target} has {count} parts between `# BEGIN {part}` and `# END {part}`; it needs one")
    return found
