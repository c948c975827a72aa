"""The protos of each release, which every later one keeps its promises to.

`python -m proto.release` is a step of making a release, between setting `version` in pyproject.toml and the commit that
gets the tag ``v<version>``. It writes ``proto/released/v<version>.binpb``, an image made by ``buf build``. `proto.lint`
compares with the newest. An image is in every checkout, with or without history and tags, and never changes.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from proto.generate import ROOT

FOLDER = ROOT / "proto/released"


def buf() -> str:
    """The `buf` of this Python's environment (wheel `buf-bin`), else the one on the PATH. Raises FileNotFoundError."""
    beside = Path(sys.executable).with_name("buf")
    found = str(beside) if beside.exists() else shutil.which("buf")
    if found is None:
        raise FileNotFoundError("buf is not installed; run `uv sync` (it is the wheel buf-bin)")
    return found


def image_of(version: str, folder: Path = FOLDER) -> Path:
    """Where the image of a version, such as ``0.1.0``, is."""
    return folder / f"v{version}.binpb"


def newest(folder: Path = FOLDER) -> Path:
    """The image of the newest release. Raises FileNotFoundError."""
    images = sorted(folder.glob("v*.binpb"), key=lambda path: _numbers(path.stem))
    if not images:
        raise FileNotFoundError(f"{folder} has no image of a release; `git checkout` it")
    return images[-1]


def tags_without_image(tags: list[str], folder: Path = FOLDER) -> list[str]:
    """Release tags (``v1.2.3``) whose protos were not kept."""
    return [tag for tag in tags if _numbers(tag) and not image_of(tag.removeprefix("v"), folder).exists()]


def _numbers(tag: str) -> tuple[int, ...]:
    """The numbers of ``v1.2.3``; none if the text is no release's tag."""
    parts = tag.removeprefix("v").split(".")
    return tuple(map(int, parts)) if tag.startswith("v") and all(part.isdecimal() for part in parts) else ()


def main() -> int:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    image = image_of(version)
    if image.exists():
        print(f"{image.relative_to(ROOT)} is there: a release never changes; raise `version` in pyproject.toml first")
        return 1
    image.parent.mkdir(exist_ok=True)
    done = subprocess.run([buf(), "build", "--exclude-source-info", "-o", str(image)], cwd=ROOT)
    if done.returncode == 0:
        print(f"wrote {image.relative_to(ROOT)}; commit it, then `git tag v{version}`")
    return done.returncode


if __name__ == "__main__":
    raise SystemExit(main())
