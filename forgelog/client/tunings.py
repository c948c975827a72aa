"""Hyperparameter tunings and their trials through the client."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from forgelog.client.core import Namespace
from forgelog.client.experiments import CONTEXT, lifecycle
from forgelog.client.job_spec import spec_of
from forgelog.client.plain import Answer, plain
from forgelog.client.references import Candidate, chosen
from forgelog.client.rows import HyperparameterTuningJobRow, TrialRow
from forgelog.client.words import enum_words, several
from forgelog.errors import InvalidInput, NotFound, Refused
from forgelog_pb.experiments.v1 import tunings_pb2 as pb
from forgelog_pb.experiments.v1 import tunings_pb2_grpc as rpc
from forgelog_pb.experiments.v1 import types_pb2 as types


class AsyncTunings(Namespace):
    """Tunings: `forgelog.experiments.v1.TuningQueries`, and the commands on them and on their trials."""

    @property
    def _stub(self) -> Any:
        return rpc.TuningQueriesStub(self._core.channel)

    async def create(
        self,
        name: str,
        directions: Sequence[str] = ("minimize",),
        *,
        id: str = "",
        job: Mapping[str, Any] | str | Path | None = None,
        **fields: Any,
    ) -> str:
        """Make a tuning; its id. `directions`: minimize or maximize, one for each objective. `fields` are those of
        `CreateTuning`: `limits` (trials, parallel, seconds), `early_stopping` (patience, min_delta), `plan` (algorithm,
        seed, space, pruning), with which the platform searches. `job`: what runs each trial, as `jobs.submit` takes it
        (a dict, or a manifest's path); `objectives` (metric, take, every): which metrics its run logs. `experiment` (a
        name, or `experiment_id`): whose the runs of its jobs are, and what it searches if `plan` has no space. Raises
        `Refused`, `ManifestError`."""
        body = {"tuning_id": id, "name": name, "directions": several(directions), **fields}
        if job is not None:
            body["job"] = await spec_of(self._core, job, "tuning", "trial")
        outcome = await self._core.publish((f"forgelog.{CONTEXT}.v1.CreateTuning", body), wait="conclusion")
        return str(outcome.subject)

    async def pause(self, id: str) -> Answer:
        """Let no new trial begin. Raises `Refused`."""
        return await self._send("PauseTuning", id)

    async def resume(self, id: str) -> Answer:
        """Let trials begin again. Raises `Refused`."""
        return await self._send("ResumeTuning", id)

    async def stop(self, id: str, *, reason: str = "") -> Answer:
        """End it; trials that run may still be told. Raises `Refused`."""
        return await self._send("StopTuning", id, reason=reason)

    async def delete(self, id: str) -> Answer:
        """Take it out of the lists, for good; its name is free then. Raises `Refused`."""
        return await self._send("DeleteTuning", id)

    async def set_attribute(self, id: str, name: str, value: Any, *, trial: int | None = None) -> Answer:
        """Give a tuning, or one of its trials, an attribute: whatever JSON can say. Raises `Refused`."""
        said = {"name": name, "value": json.dumps(value)}
        if trial is None:
            return await self._send("SetTuningAttribute", id, **said)
        return await self._send("SetTrialAttribute", id, number=trial, **said)

    async def take(self, id: str) -> TrialRow | None:
        """Take up a trial whose values the platform has chosen; wait until there is one. None once the tuning has
        ended, for then there will be none. Raises `NotFound`, `Refused`."""
        await self.get(id)
        async for tuning in self.watch([id]):
            if tuning.status not in ("running", "paused"):
                return None
            for trial in await self.trials(id, status=["proposed"]):
                try:
                    taken = await self._send("StartTrial", id, number=trial.number)
                except Refused:  # it ended, or the tuning did: what follows says so
                    continue
                if taken.result == "accepted":  # else somebody else has it
                    return await self.trial(id, trial.number)
        raise AssertionError("a watch has no end")

    async def current(self) -> TrialRow:
        """The trial that this process runs, in a job that the platform started for it. Raises `InvalidInput` elsewhere,
        and `NotFound` for another platform's."""
        id, number = os.environ.get("FORGELOG_TUNING", ""), os.environ.get("FORGELOG_TRIAL", "")
        if not id or not number.isdecimal():
            raise InvalidInput("this process runs no trial: FORGELOG_TUNING and FORGELOG_TRIAL are not set")
        await self.get(id)
        async for _ in self.watch([id]):  # the job may have begun before the tables know that its trial has its values
            with suppress(NotFound):
                trial = await self.trial(id, int(number))
                if trial.status != "requested":
                    trial["attempt"] = int(os.environ.get("FORGELOG_ATTEMPT") or trial["attempt"])
                    return trial
        raise AssertionError("a watch has no end")

    async def report(self, id: str, number: int, step: int, value: float, *, attempt: int | None = None) -> Answer:
        """Say how far a trial has got. `attempt`: which process says so. Raises `Refused`."""
        return await self._send("ReportTrial", id, number=number, step=step, value=str(value), attempt=attempt)

    async def tell(
        self,
        id: str,
        number: int,
        values: float | Sequence[float] = (),
        *,
        status: str = "completed",
        reason: str = "",
        attempt: int | None = None,
    ) -> Answer:
        """Say how a trial ended: completed, with a value for each objective; pruned or failed. Raises `Refused`."""
        given = [str(float(each)) for each in (values if isinstance(values, Sequence) else [values])]
        fields = {"status": status, "objective_values": given, "reason": reason, "attempt": attempt}
        return await self._send("TellTrial", id, number=number, **fields)

    async def requeue(self, id: str, number: int, *, attempt: int | None = None, reason: str = "") -> Answer:
        """Take a running trial's process for lost: the trial waits for its next attempt. Raises `Refused`."""
        return await self._send("RequeueTrial", id, number=number, attempt=attempt, reason=reason)

    async def get(
        self, id: str = "", *, name: str = "", project: str = "", at: datetime | None = None
    ) -> HyperparameterTuningJobRow:
        """One tuning, by its id, or by its name in a project (the client's own if left out). Raises `NotFound`."""
        request = pb.GetTuningRequest(
            tuning_id=id,
            name=name,
            project="" if id else project or self._core.own_project,
            options=self._core.options(CONTEXT, at),
        )
        answer = await self._core.ask(self._stub.GetTuning, request, f"tuning {id or name}")
        return cast("HyperparameterTuningJobRow", plain(answer.tuning))

    async def find(self, text: str, *, at: datetime | None = None) -> str:
        """The id of the tuning that `text` names: its id, its name in the client's project, or the beginning of its id
        there. Raises `NotFound` if there is none, and `InvalidInput`, which lists them, if there are several."""
        for called in ({"id": text}, {"name": text}) if text else ():
            with suppress(NotFound):
                return str((await self.get(**called, at=at)).tuning_id)
        rows = await self.list(project=self._core.own_project, deleted=None, at=at)
        found = [
            Candidate(row.tuning_id, row.name, row.deleted_at is None, f"{row.status}, {row.name}") for row in rows
        ]
        return chosen(text, found, kind="tuning", listing="forgelog tune list", at=at)

    async def trial(self, id: str, number: int, *, at: datetime | None = None) -> TrialRow:
        """One trial, with `intermediate`: what its present attempt reported, by step. Raises `NotFound`."""
        request = pb.GetTrialRequest(tuning_id=id, number=number, options=self._core.options(CONTEXT, at))
        answer = await self._core.ask(self._stub.GetTrial, request, f"trial {number} of tuning {id}")
        row = _with_params(plain(answer.trial))
        row["intermediate"] = {each.step: float(each.value) for each in answer.intermediate}
        return row

    async def trials(
        self, id: str, *, status: Iterable[str] = (), at: datetime | None = None, limit: int | None = None
    ) -> Sequence[TrialRow]:
        """The trials of a tuning, by number, each with its `params`."""
        request = pb.ListTrialsRequest(
            tuning_id=id,
            statuses=enum_words(types.TrialStatus.DESCRIPTOR, status, "status"),
            options=self._core.options(CONTEXT, at),
        )
        rows = await self._core.pages(self._stub.ListTrials, request, "trials", CONTEXT, limit)
        return [_with_params(row) for row in rows]

    async def best(self, id: str, *, at: datetime | None = None, limit: int | None = None) -> Sequence[TrialRow]:
        """The completed trials of a tuning, best first; with several objectives those of the Pareto front, which no
        other trial equals in all objectives and betters in one. Raises `NotFound`."""
        from forgelog.tuning_results import best_of

        tuning = await self.get(id, at=at)
        return best_of(await self.trials(id, status=["completed"], at=at), tuning.directions)[:limit]

    async def importances(
        self, id: str, *, objective: int | None = None, at: datetime | None = None
    ) -> dict[str, float]:
        """Hyperparameter → how much it mattered for the best tenth of the completed trials, by PED-ANOVA; 1 in all,
        greatest first. `objective`: of several, which, from 0 on; None: for the Pareto front. Raises `NotFound`, and
        `InvalidInput` for fewer than 10 completed trials. Loads Optuna."""
        from forgelog.tuning_results import importances

        tuning = await self.get(id, at=at)
        trials = await self.trials(id, status=["completed"], at=at)
        return await asyncio.to_thread(importances, trials, tuning.directions, objective)

    async def watch(self, ids: Iterable[str] = (), *, project: str = "") -> AsyncIterator[HyperparameterTuningJobRow]:
        """Tunings as they are now, and each again whenever it has changed. Has no end."""
        wanted = several(ids)

        def request() -> Any:
            options = self._core.options(CONTEXT, None)
            return pb.WatchTuningsRequest(tuning_ids=wanted, project=project, options=options)

        async for answer in self._core.connection.resumed(self._stub.WatchTunings, request, what="watch"):
            yield cast("HyperparameterTuningJobRow", plain(answer.tuning))

    async def _send(self, kind: str, id: str, **fields: Any) -> Answer:
        return await self._core.publish((f"forgelog.{CONTEXT}.v1.{kind}", {"tuning_id": id, **fields}))

    # The last, for annotations below it would take its name for the builtin's.
    async def list(
        self,
        *,
        project: str = "",
        status: Iterable[str] = (),
        name: str = "",
        owner: str = "",
        experiment: str = "",
        deleted: bool | None = False,
        at: datetime | None = None,
        limit: int | None = None,
    ) -> list[HyperparameterTuningJobRow]:
        """Tunings, newest first. `name`: a part of it. `experiment`: the id of the one that they are of. `deleted`:
        only those that are; None: those too."""
        request = pb.ListTuningsRequest(
            project=project,
            statuses=enum_words(types.TuningStatus.DESCRIPTOR, status, "status"),
            name=name,
            owner=owner,
            experiment_id=experiment,
            lifecycle=lifecycle(deleted),
            options=self._core.options(CONTEXT, at),
        )
        return await self._core.pages(self._stub.ListTunings, request, "tunings", CONTEXT, limit)


def _with_params(row: Any) -> TrialRow:
    """A trial with its hyperparameters as its program has them."""
    row["params"] = {each.name: external(float(each.value), each.distribution) for each in row.parameters}
    return cast("TrialRow", row)


def external(value: float, distribution: str) -> Any:
    """A hyperparameter's value, of the number by which its distribution (Optuna's JSON) counts it."""
    drawn = json.loads(distribution)
    choices = drawn["attributes"].get("choices")
    if choices is not None:
        return choices[int(value)]
    return int(value) if drawn["name"].startswith("Int") else value
