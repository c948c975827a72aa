"""Several contexts in one process: ``python -m services jobs scheduling resources``.

Settings come from FORGELOG_* variables; ``{context}`` in `FORGELOG_INSTANCE` stands for each context's name.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from events.language.contexts import contexts
from events.service import serve


def problem_of(names: Sequence[str]) -> str:
    """Why these contexts can't be run together; empty if they can."""
    known = ", ".join(contexts())
    if not names or names[0].startswith("-"):
        return f"name the contexts to run: python -m services CONTEXT...; there are: {known}"
    for name in names:
        if name not in contexts():
            return f"there is no context {name!r}; there are: {known}"
        if names.count(name) > 1:
            return f"{name!r} is named twice; name each context once"
    return ""


def main(names: Sequence[str]) -> None:
    if problem := problem_of(names):
        sys.exit(problem)
    serve(*names)


if __name__ == "__main__":
    main(sys.argv[1:])
