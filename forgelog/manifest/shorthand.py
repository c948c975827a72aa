"""What people may write for the models of a manifest: keys at the top for what lies deeper, and one word for a model.

The module of a kind has its own: a manifest of jobs shall not load the models of all contexts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel

from events.language.jobs.spec import JobArray, JobSpec, RestartPolicy, SecretRef
from events.language.jobs.spec_service import LivenessProbe, Probe, StartupProbe


@dataclass(frozen=True, slots=True)
class Shorthand:
    """Two of them together are ``one | other``."""

    keys: Mapping[type[BaseModel], Mapping[str, tuple[str, str]]] = field(default_factory=dict)
    """Keys people expect at the top, and where they belong."""
    words: Mapping[type[BaseModel], str] = field(default_factory=dict)
    """Models that may be written as one word, and the field that word is."""

    def __or__(self, other: Shorthand) -> Shorthand:
        return Shorthand({**self.keys, **other.keys}, {**self.words, **other.words})


ENVIRONMENT: Mapping[str, tuple[str, str]] = {
    "env": ("environment", "variables"),
    "secrets": ("environment", "secrets"),
    "working_directory": ("environment", "working_directory"),
    "bundle": ("environment", "bundle"),
}
"""Of whatever runs in a job's environment."""

OF_JOBS = Shorthand(
    keys={
        JobSpec: {
            "name": ("metadata", "name"),
            "description": ("metadata", "description"),
            "labels": ("metadata", "labels"),
            **ENVIRONMENT,
            "node_selector": ("scheduling", "node_selector"),
            "tolerations": ("scheduling", "tolerations"),
            "restart": ("scheduling", "restart"),
            "max_runtime": ("scheduling", "max_runtime"),
            "grace": ("scheduling", "grace"),
        },
    },
    words={
        JobArray: "size",
        RestartPolicy: "mode",
        SecretRef: "name",
        **dict.fromkeys((Probe, StartupProbe, LivenessProbe), "kind"),
    },
)
"""Of jobs, and of what other kinds have of them."""
