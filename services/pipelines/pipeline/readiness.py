"""Whether a stage may begin, by how the stages before it have ended. Pure."""

from __future__ import annotations

from typing import NamedTuple

from events.language.pipelines.enums import RunWhen, StageStatus
from events.language.pipelines.stages import StageSpec
from services.pipelines.pipeline.state import ENDED, Pipeline, Run, Stage


class Verdict(NamedTuple):
    """What becomes of a stage."""

    begins: bool
    why: str = ""
    """Of one that does not: why it is skipped."""
    excused: bool = False
    """Whether nothing had failed."""


def verdict(run: Run, spec: StageSpec, needs: tuple[str, ...]) -> Verdict | None:
    """Whether a stage begins or is skipped; None: that is not known yet."""
    found = [(id, run.stages.get(id)) for id in needs]
    ended = [(id, stage) for id, stage in found if stage is not None and stage.status in ENDED]
    bad = [id for id, stage in ended if _bad(stage)]
    completed = [id for id, stage in ended if stage.status is StageStatus.COMPLETED]
    over = len(ended) == len(needs)
    match spec.run_when:
        case RunWhen.ALL_OK:
            if bad:
                return Verdict(False, f"stage {bad[0]} has not completed")
            if not over:
                return None
        case RunWhen.ANY_OK:
            if not completed:
                return Verdict(False, "none of the stages before it has completed", not bad) if over else None
        case RunWhen.ALL_DONE:
            if not over:
                return None
        case RunWhen.ANY_FAILED:
            if not bad:
                return Verdict(False, "none of the stages before it has failed", True) if over else None
    return _with_inputs(spec, dict(ended), not bad)


def _with_inputs(spec: StageSpec, ended: dict[str, Stage], excused: bool) -> Verdict | None:
    """The verdict as far as it depends on the outputs that the stage takes."""
    for given in spec.inputs.values():
        if not given.stage:
            continue
        stage = ended.get(given.stage)
        if stage is None:
            return None
        if stage.status is not StageStatus.COMPLETED:
            return Verdict(False, f"stage {given.stage}, whose output it takes, has none", excused)
    return Verdict(True)


def _bad(stage: Stage) -> bool:
    return stage.status is StageStatus.FAILED or (stage.status is StageStatus.SKIPPED and not stage.excused)


def consider(state: Pipeline, run: Run, ids: list[str]) -> None:
    """Find out which of these stages may begin, and which are not needed."""
    graph = state.graph(run.version)
    for id in ids:
        if id in run.stages or id in run.unneeded:
            continue
        found = verdict(run, graph.stages[id], graph.needs[id])
        if found is None:
            continue
        if found.begins:
            run.stages[id] = Stage(attempt=run.attempts.get(id, 0))
            run.ready.append(id)
        else:
            run.unneeded[id] = found.why
            run.stages[id] = Stage(attempt=run.attempts.get(id, 0), excused=found.excused)
