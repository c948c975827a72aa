"""`python -m proto.lint`: generated files are fresh, `buf lint` passes, and no promise is broken: neither one of main's
last commit nor one of the last release (see `proto.release`).

On a branch the comparison is with main; on main itself with its last commit, so that uncommitted changes are checked.
"""

from __future__ import annotations

import subprocess
import sys

from proto.generate import ROOT, check, forget_added_contexts
from proto.release import buf, newest, tags_without_image


def main_commit() -> str | None:
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


def tags() -> list[str]:
    """The tags that this checkout knows; none where it has no history."""
    done = subprocess.run(["git", "tag", "--list", "v*"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.split()


def main() -> int:
    forget_added_contexts()
    status = check()
    status |= subprocess.run([buf(), "lint"], cwd=ROOT).returncode
    commit = main_commit()
    if commit is None:
        print("proto.lint: no earlier commit with buf.yaml to compare with; `buf breaking` skipped", file=sys.stderr)
    else:
        status |= subprocess.run([buf(), "breaking", "--against", f".git#ref={commit}"], cwd=ROOT).returncode
    status |= subprocess.run([buf(), "breaking", "--against", str(newest())], cwd=ROOT).returncode
    for tag in tags_without_image(tags()):
        print(f"proto.lint: there is a tag {tag}, but no image of its protos; see proto/release.py", file=sys.stderr)
        status |= 1
    return 1 if status else 0


if __name__ == "__main__":
    raise SystemExit(main())
