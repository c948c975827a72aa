"""The contexts that there are. Everything that has to name them all takes them from here.

From a context's `ContextSpec` follow its topics, its types in the registry and in `types.proto`, what the users of the
broker may do, its process in the embedded platform and in `docker-compose.yml`, and the words of the command line.

Modules and packages are named, not imported: a command line that only needs the names starts without them.

`FORGELOG_CONTEXTS` adds contexts that are defined elsewhere: ``package.module:NAME``, with commas between. Each NAME is
a `ContextSpec` in a module that imports nothing else of the language. All processes of a platform are told the same.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from keyword import iskeyword
from types import MappingProxyType
from typing import Literal

from events.language.streams import OUTPUT, POINTS, REQUESTS, TRAFFIC, WINDOWS, StreamTopic

VARIABLE = "FORGELOG_CONTEXTS"

RESERVED = frozenset(
    {"agent", "common", "gateway", "kafka", "log", "otel", "postgres", "query", "services", "supervisor"}
)
"""Names that no context can have: of other processes, and of packages of messages."""

TOPICS = frozenset({"audit", "commands", "deadletter", "events", "repairs"})
"""Words that no stream's topic can begin with: others begin so."""

_WORD = re.compile(r"[a-z][a-z0-9]{1,31}")
_NAME = re.compile(r"[a-z][a-z0-9]{1,15}")  # also in names of topics, hosts and schemas, with a prefix and an ending
_DOTTED = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
_MODULE = re.compile(_DOTTED, re.ASCII)
_ENTRY = re.compile(rf"({_DOTTED}):([A-Za-z_]\w*)", re.ASCII)
_TUPLES = {"language": "('package.module',)", "kinds": "(('Word', 'package.module:NAME'),)", "streams": "(TOPIC,)"}
"""Field of a `ContextSpec` → how a tuple of one is written: without its last comma it is none."""
_ROOMS = ("enums", "models", "commands", "events")


class ContextsError(SystemExit, ValueError):
    """A context can't be used; the text says which and why. It has nothing of the variable's value.

    Contexts are needed while modules are imported, before a program's `main` can catch anything. Where nobody catches
    it, it ends the process with its text and without a traceback, as `sys.exit` does.
    """


@dataclass(frozen=True, slots=True)
class ContextSpec:
    """One context. Raises ContextsError for a value that can't be used."""

    name: str
    """2 to 16 lower-case letters and digits, a letter first: ``commands.<name>``, ``forgelog.<name>.v1``."""
    summary: str
    """What it decides, as a noun phrase of a few words."""
    language: tuple[str, ...] = ()
    """Modules of its enums, models, commands and events, in the order of `types.proto`. Left out: the module
    ``events.language.<name>``; of a package, those of its `enums`, `models`, `commands` and `events` that are there."""
    service: str = ""
    """Package of its service: ``<service>.service`` has its `SERVICE`, ``<service>.projections`` its tables. Left out:
    ``services.<name>``."""
    hosted: Literal["alone", "together"] = "together"
    """Its process in the embedded platform and in `docker-compose.yml`: one of its own, ``python -m <service>``, or the
    one of all that are `together`, ``python -m services <name>...``."""
    cli: str = ""
    """Module of its commands, in the form that `forgelog.cli` wants; for contexts whose commands are not there."""
    kinds: tuple[tuple[str, str], ...] = ()
    """What it takes from manifests: the word of ``kind:``, and ``package.module:NAME`` of its
    `forgelog.manifest.kinds.ManifestKind`."""
    from_agents: bool = False
    """Whether node agents publish its commands."""
    to_agents: bool = False
    """Whether node agents read its events."""
    streams: tuple[StreamTopic, ...] = ()
    """Topics of its data that is too much for events."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.name in RESERVED or iskeyword(self.name):
            raise ContextsError(
                f"a context can't be called {self.name!r}: write 2 to 16 lower-case letters and digits, a letter "
                f"first, no keyword of Python, and none of {', '.join(sorted(RESERVED))}"
            )
        if self.hosted not in ("alone", "together"):
            raise ContextsError(f"the context {self.name!r}: hosted is neither 'alone' nor 'together'")
        for place, example in _TUPLES.items():
            if not isinstance(getattr(self, place), tuple):
                raise ContextsError(f"the context {self.name!r}: {place} is no tuple; write {example}")
        if not all(isinstance(kind, tuple) and len(kind) == 2 for kind in self.kinds):
            raise ContextsError(f"the context {self.name!r}: kinds has what is no pair; write {_TUPLES['kinds']}")
        for place, modules in (("language", self.language), ("service", (self.service,)), ("cli", (self.cli,))):
            for module in modules:
                if (module or place == "language") and not _is_module(module):
                    raise ContextsError(
                        f"the context {self.name!r}: {place} names no module by its full name: write package.module"
                    )

        for stream in self.streams:
            if problem := self._problem_of(stream):
                raise ContextsError(f"the context {self.name!r}: streams has {problem}")
        if len({stream.name for stream in self.streams}) < len(self.streams):
            raise ContextsError(f"the context {self.name!r}: streams has a topic twice; leave one out")

    def _problem_of(self, stream: StreamTopic) -> str:
        """What is wrong with the topic of a stream; `days` is known to `events.log.topics` alone."""
        if not isinstance(stream, StreamTopic):
            return f"what is no StreamTopic; write {_TUPLES['streams']}"
        word, _, context = stream.name.partition(".")
        if not _WORD.fullmatch(word) or word in TOPICS or context != self.name:
            return (
                f"the name {stream.name[:80]!r}: write <word>.{self.name}, the word of 2 to 32 lower-case letters and "
                f"digits, a letter first, and none of {', '.join(sorted(TOPICS))}"
            )
        if stream.compression not in ("none", "zstd"):
            return f"a compression of {stream.name} that is neither 'none' nor 'zstd'"
        return ""

    @property
    def package(self) -> str:
        """See `service`."""
        return self.service or f"services.{self.name}"

    def modules(self) -> tuple[str, ...]:
        """See `language`. Imports a package that has to be looked into. Raises ModuleNotFoundError."""
        if self.language:
            return self.language
        whole = f"events.language.{self.name}"
        found = find_spec(whole)
        if found is None:
            raise ModuleNotFoundError(f"there is no module {whole}", name=whole)
        if found.submodule_search_locations is None:
            return (whole,)
        return tuple(f"{whole}.{room}" for room in _ROOMS if find_spec(f"{whole}.{room}") is not None)


def _is_module(name: str) -> bool:
    """Whether it is a module's full name, as an import statement takes it."""
    return _MODULE.fullmatch(name) is not None and not any(map(iskeyword, name.split(".")))


OWN = (
    ContextSpec(
        "jobs",
        "jobs, their tasks and attempts",
        language=(
            "events.language.jobs.spec",
            "events.language.jobs.spec_placement",
            "events.language.jobs.spec_isolation",
            "events.language.jobs.spec_training",
            "events.language.jobs.spec_monitoring",
            "events.language.jobs.spec_service",
            "events.language.jobs.models",
            "events.language.jobs.commands",
            "events.language.jobs.events",
        ),
        hosted="alone",
        kinds=(("Job", "forgelog.manifest.jobs:JOB"),),
        from_agents=True,
        to_agents=True,
        streams=(OUTPUT,),
    ),
    ContextSpec("scheduling", "queues, and which job runs where", hosted="alone"),
    ContextSpec(
        "resources",
        "nodes, and who has what of them",
        language=(
            "events.language.resources.hardware_gpu",
            "events.language.resources.hardware",
            "events.language.resources.models",
            "events.language.resources.commands",
            "events.language.resources.events",
        ),
        hosted="alone",
        from_agents=True,
        to_agents=True,
    ),
    ContextSpec(
        "experiments",
        "experiments, their runs, and tunings",
        language=(
            "events.language.experiments.enums",
            "events.language.experiments.hyperparameters",
            "events.language.experiments.practices",
            "events.language.experiments.search_space",
            "events.language.experiments.launch_spec",
            "events.language.experiments.models",
            "events.language.experiments.commands",
            "events.language.experiments.artifacts",
            "events.language.experiments.capture",
            "events.language.experiments.sealing",
            "events.language.experiments.results",
            "events.language.experiments.templates",
            "events.language.experiments.registry.models",
            "events.language.experiments.registry.commands",
            "events.language.experiments.registry.events",
            "events.language.experiments.logged_models",
            "events.language.experiments.datasets",
            "events.language.experiments.events",
            "events.language.experiments.launching",
            "events.language.experiments.purging",
            "events.language.experiments.tuning_pruning",
            "events.language.experiments.tuning_space",
            "events.language.experiments.tuning_models",
            "events.language.experiments.tuning",
            "events.language.experiments.tuning_following",
        ),
        kinds=(("Template", "forgelog.manifest.templates:TEMPLATE"),),
        streams=(POINTS,),
    ),
    ContextSpec(
        "deployments",
        "models that are served, and how requests get to them",
        language=(
            "events.language.deployments.endpoint_types",
            "events.language.deployments.enums",
            "events.language.deployments.routing",
            "events.language.deployments.serving",
            "events.language.deployments.drift",
            "events.language.deployments.traffic",
            "events.language.deployments.canary",
            "events.language.deployments.scaling",
            "events.language.deployments.alerts",
            "events.language.deployments.models",
            "events.language.deployments.answers",
            "events.language.deployments.telemetry",
            "events.language.deployments.commands",
            "events.language.deployments.events",
            "events.language.deployments.steering",
            "events.language.deployments.reasons",
            "events.language.deployments.keys",
            "events.language.deployments.following",
        ),
        kinds=(("Deployment", "forgelog.manifest.deployments:DEPLOYMENT"),),
        from_agents=True,
        streams=(REQUESTS, TRAFFIC, WINDOWS),
    ),
    ContextSpec(
        "pipelines",
        "data work in stages, its runs, and the datasets that it makes",
        language=(
            "events.language.pipelines.enums",
            "events.language.pipelines.spark",
            "events.language.pipelines.columns",
            "events.language.pipelines.connections",
            "events.language.pipelines.formats",
            "events.language.pipelines.quality",
            "events.language.pipelines.sources",
            "events.language.pipelines.sinks",
            "events.language.pipelines.relational",
            "events.language.pipelines.transformations",
            "events.language.pipelines.lineage",
            "events.language.pipelines.manifests",
            "events.language.pipelines.notifications",
            "events.language.pipelines.contracts",
            "events.language.pipelines.commits",
            "events.language.pipelines.work",
            "events.language.pipelines.windows",
            "events.language.pipelines.parameters",
            "events.language.pipelines.conditions",
            "events.language.pipelines.schedule",
            "events.language.pipelines.triggers",
            "events.language.pipelines.sla",
            "events.language.pipelines.stages",
            "events.language.pipelines.pipeline",
            "events.language.pipelines.answers",
            "events.language.pipelines.dataset_answers",
            "events.language.pipelines.commands",
            "events.language.pipelines.events",
            "events.language.pipelines.templates",
            "events.language.pipelines.dataset_messages",
            "events.language.pipelines.run_commands",
            "events.language.pipelines.run_events",
            "events.language.pipelines.backfill",
            "events.language.pipelines.schedule_messages",
            "events.language.pipelines.trigger_messages",
            "events.language.pipelines.arrivals",
            "events.language.pipelines.watch_messages",
            "events.language.pipelines.clock_answers",
        ),
        kinds=(
            ("Pipeline", "forgelog.manifest.pipelines:PIPELINE"),
            ("PipelineTemplate", "forgelog.manifest.pipeline_templates:PIPELINE_TEMPLATE"),
            ("Dataset", "forgelog.manifest.datasets:DATASET"),
        ),
    ),
)
"""Forgelog's own, in the order of the main flow. Those between a submit and the start of its process are alone: on two
cores they work at the same time."""


TOGETHER = "services"
"""The process of the contexts that are together."""


@cache
def contexts() -> Mapping[str, ContextSpec]:
    """Every context by its name: Forgelog's own, then those that `FORGELOG_CONTEXTS` adds. Raises ContextsError."""
    found = {spec.name: spec for spec in OWN}
    for number, spec in enumerate(_added(os.environ.get(VARIABLE, "")), 1):
        if spec.name in found:
            raise ContextsError(f"{VARIABLE}: entry {number} is a second context {spec.name!r}; give it another name")
        found[spec.name] = spec
    return MappingProxyType(found)


def processes(specs: Mapping[str, ContextSpec] | None = None) -> dict[str, tuple[str, ...]]:
    """Process → the contexts in it, of these or of all. One that is alone gives its process its name."""
    found: dict[str, tuple[str, ...]] = {}
    for spec in (contexts() if specs is None else specs).values():
        process = spec.name if spec.hosted == "alone" else TOGETHER
        found[process] = (*found.get(process, ()), spec.name)
    return found


def _added(value: str) -> Iterator[ContextSpec]:
    for number, entry in enumerate(filter(None, (part.strip() for part in value.split(","))), 1):
        place = f"{VARIABLE}: entry {number}"
        match = _ENTRY.fullmatch(entry)
        if match is None:
            raise ContextsError(f"{place} is not package.module:NAME")
        module, name = match.groups()
        try:
            spec = getattr(import_module(module), name, None)
        except ContextsError:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - anybody's code
            raise ContextsError(f"{place}{_problem(module, error)}") from None
        if not isinstance(spec, ContextSpec):
            raise ContextsError(f"{place}: its module has no ContextSpec of that name, {_MORE}")
        yield spec


_MORE = "or imports more of Forgelog than events.language.contexts"


def _problem(module: str, error: BaseException) -> str:
    """Why a module of the variable's can't be imported, without its name."""
    if isinstance(error, ModuleNotFoundError):
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            return " names a module that can't be found; is its folder in PYTHONPATH?"
        return f": {error}, which its module imports"
    more = f", {_MORE}" if isinstance(error, ImportError) else ""
    return f": its module can't be imported: {broken(error)}{more}"


def broken(error: BaseException) -> str:
    """What stopped a module's import, by the error's type alone: its text may say anything."""
    return f"{type(error).__name__}; import it by itself to see where"
