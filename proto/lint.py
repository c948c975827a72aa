"""`python -m proto.lint`: generated files are fresh, `buf lint` passes, no promise of main's last commit is broken.

On a branch the comparison is with main; on main itself with its last commit, so that uncommitted changes are checked.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from proto.generate import ROOT, check


def buf() -> str:
    """The `buf` of this Python's environment (wheel `buf-bin`), else the one on the PATH. Raises FileNotFoundError."""
    beside = Path(sys.executable).with_name("buf")
    found = str(beside) if beside.exists() else shutil.which("buf")
    if found is None:
        raise FileNotFoundError("buf is not installed; run `uv sync` (it is the wheel buf-bin)")
    return found


def baseline() -> str | None:
    """The commit to compare with: of main if there is such a branch, else HEAD. None if it has no buf.yaml yet."""
    for ref in ("main", "origin/main", "HEAD"):
        done = subprocess.run(
            ["git", "rev-parse", "--verify", "--quiet", ref], cwd=ROOT, capture_output=True, text=True
        )
        if done.returncode == 0:
            commit = done.stdout.strip()
            has_proto = subprocess.run(["git", "cat-file", "-e", f"{commit}:buf.yaml"], cwd=ROOT, capture_output=True)
            return commit if has_proto.returncode == 0 else None
    return None


def main() -> int:
    status = check()
    status |= subprocess.run([buf(), "lint"], cwd=ROOT).returncode
    commit = baseline()
    if commit is None:
        print("proto.lint: no earlier commit with buf.yaml to compare with; `buf breaking` skipped", file=sys.stderr)
    else:
        status |= subprocess.run([buf(), "breaking", "--against", f".git#ref={commit}"], cwd=ROOT).returncode
    return 1 if status else 0


if __name__ == "__main__":
    raise SystemExit(main())
