"""What `deploy/prometheus/prometheus.yml` says of the contexts: the gateway's page of each one's metrics.

The file is written by hand but for this part, as `docker-compose.yml` is (`compose`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from events.language.contexts import contexts
from proto.compose import ROOT, put

TARGET = "deploy/prometheus/prometheus.yml"

_PAGE = """\
      - targets: ["127.0.0.1:7070"]
        labels: {{ __metrics_path__: /metrics/{name}, process: {name} }}
"""


def documents() -> Mapping[str, str]:
    """The one file."""
    return {TARGET: render((ROOT / TARGET).read_text(), contexts())}


def render(text: str, names: Iterable[str]) -> str:
    """The file with its generated part anew. Raises GenerationError when the lines around it are missing."""
    return put(text, "contexts", "".join(_PAGE.format(name=name) for name in names), TARGET)
