"""The page about objects: its program runs, and prints what the page shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "how-to" / "objects.md").read_text()


def blocks(kind: str) -> str:
    return "\n".join(re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))


def test_the_program_of_the_page_prints_what_the_page_shows(tmp_path: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("FORGELOG_", "AWS_"))}
    ran = subprocess.run(
        [sys.executable, "-c", blocks("python")],
        cwd=ROOT,
        env={**clean, "FORGELOG_DATA": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == blocks("text")
    assert {each.name for each in (tmp_path / "objects").iterdir()} == {"blobs", "index", "large"}
