"""``python -m forgelog.serve``: see the package, and docs/how-to/serving.md."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
from importlib.metadata import version

import uvloop

from events.process import exit_message
from forgelog.serve.problems import NotServable, NotServableHere, missing


def main() -> int:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        if importlib.util.find_spec("websockets") is None:
            raise missing("websockets", "serving", "the model server")
        from forgelog.serve import server, spans, starting

        start = starting.read(sys.argv[1:])
        spans.export(os.environ)
        return uvloop.run(server.serve(start, version("forgelog")))
    except NotServable as problem:
        print(f"error: {problem}", file=sys.stderr, flush=True)
        exit_message.leave(str(problem))
        return 1 if isinstance(problem, NotServableHere) else exit_message.EXIT_PERMANENT


if __name__ == "__main__":
    raise SystemExit(main())
