"""The templates of experiments that come with Forgelog: a folder each, with a `template.yaml` and the files that an
experiment's folder begins with. All have the files of `common`, too. They are programs of their own, and no modules of
this package."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

_HERE = Path(__file__).parent
_RENAMED = {"gitignore": ".gitignore"}
"""Under its own name it would say what is no part of this package."""


def names() -> list[str]:
    """Those that there are."""
    return sorted(each.parent.name for each in _HERE.glob("*/template.yaml"))


@contextmanager
def unpacked(name: str) -> Iterator[Path]:
    """One of `names`, whole, in a folder that is there meanwhile."""
    with TemporaryDirectory(prefix="forgelog-template-") as made:
        folder = Path(made)
        for source in (_HERE / "common", _HERE / name):
            for file in source.iterdir():
                if file.is_file():
                    shutil.copyfile(file, folder / _RENAMED.get(file.name, file.name))
        yield folder
