"""The packages that a program can import, and the lock file that lies beside it."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import TYPE_CHECKING

from events.language.experiments.capture import CapturedPackages, CapturePart, LeftOut
from forgelog.capture.secrets import printable, without_passwords

if TYPE_CHECKING:
    from events.language.objects import ObjectRef

LOCKS = (
    "uv.lock", "pylock.toml", "poetry.lock", "pdm.lock", "Pipfile.lock", "pixi.lock", "conda-lock.yml",
    "requirements.lock", "requirements.txt", "environment.yml",
)  # fmt: skip
"""The first that is there counts."""
MAX_LOCK_BYTES = 5_000_000


def captured(folder: Path, base: Path, keep: Callable[[bytes], ObjectRef], left: list[LeftOut]) -> CapturedPackages:
    """`folder`: the program's; the lock file is looked for there and in those above it, up to `base`."""
    lines = installed()
    fields: dict[str, object] = {}
    if (found := _lock(folder.resolve(), base.resolve())) is not None:
        path, name = found
        size = path.stat().st_size
        if size > MAX_LOCK_BYTES:
            why = f"it has {size:,} bytes; at most {MAX_LOCK_BYTES:,} are captured"
            left.append(LeftOut(part=CapturePart.PACKAGES, what=name, why=why))
        else:
            content = path.read_bytes()
            shown = without_passwords(content.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
            if shown != content:
                why = "users and passwords in its URLs"
                left.append(LeftOut(part=CapturePart.PACKAGES, what=name, why=why))
            fields = {"lock_path": name, "lock": keep(shown)}
    return CapturedPackages(
        python=printable(platform.python_version()),
        implementation=platform.python_implementation().lower(),
        count=len(lines),
        installed=keep("".join(f"{line}\n" for line in lines).encode()) if lines else None,
        **fields,
    )


def installed() -> list[str]:
    """A line for each package, as pip reads it. Of two of one name, the one that is imported."""
    found: dict[str, str] = {}
    for each in distributions():
        name = each.metadata["Name"]
        if name and (key := name.lower().replace("_", "-").replace(".", "-")) not in found:
            found[key] = printable(_line(name, each), 1_000)
    return [found[key] for key in sorted(found)]


def _line(name: str, each: Distribution) -> str:
    """As `pip freeze` writes it: by its version, or by where it came from (PEP 610)."""
    plain = f"{name}=={each.version}"
    try:
        origin = json.loads(each.read_text("direct_url.json") or "null")
        url = without_passwords(origin["url"])
    except (ValueError, TypeError, LookupError):
        return plain  # it came from an index, or does not say
    if isinstance(source := origin.get("vcs_info"), dict):
        return f"{name} @ {source.get('vcs', 'git')}+{url}@{source.get('commit_id', '')}"
    if (origin.get("dir_info") or {}).get("editable"):
        return f"-e {url}  # {plain}"
    return f"{name} @ {url}  # {plain}"


def _lock(folder: Path, base: Path) -> tuple[Path, str] | None:
    """The lock file, and its path relative to `base`."""
    for above in (folder, *folder.parents):
        for name in LOCKS:
            if (path := above / name).is_file():
                inside = path.is_relative_to(base)
                return path, path.relative_to(base).as_posix() if inside else name
        if above == base or not folder.is_relative_to(base):
            return None
    return None
