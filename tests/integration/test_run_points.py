"""Points of runs on a real platform: by every door, once each, as they are and as they were."""

from __future__ import annotations

import asyncio
import math
import os
import re
import sys
from asyncio.subprocess import PIPE
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import orjson
import pytest
import pytest_asyncio

from events.log.deadletters import list_dead_letters
from events.log.producer import Producer, ToSend
from events.streams.rebuild import rebuild_stream
from forgelog import AsyncClient, NotFound, Refused
from forgelog_pb.experiments.v1.points_pb2 import PointBatch
from forgelog_pb.gateway.v1.points_pb2 import LogRequest
from forgelog_pb.gateway.v1.points_pb2_grpc import PointsStub
from services.experiments.points.stream import PointStream
from tests import PATIENCE
from tests.integration.cluster import Cluster
from tests.integration.sealing import sealed

NAN = float("nan")
TOPIC = "points.experiments"


@pytest_asyncio.fixture
async def run(client: AsyncClient) -> str:
    return await client.runs.create("points")


async def send(platform: Cluster, *values: bytes, key: str) -> list[str]:
    """Records as another program sends them; their positions."""
    async with Producer(platform.settings) as producer:
        records = [ToSend(platform.settings.prefix + TOPIC, value, key.encode()) for value in values]
        return [f"{TOPIC}/{at.partition}@{at.offset}" for at in await producer.send_all(records)]


async def listed(client: AsyncClient, run: str, key: str = "loss", **more: Any) -> list[tuple[int, float]]:
    return [(point["step"], point["value"]) for point in await client.runs.points(run, key, **more)]


async def test_metrics_are_logged_and_read_back(client: AsyncClient, run: str) -> None:
    for step in range(3):
        await client.runs.log_metrics(run, {"loss": 1.0 / (step + 1), "a/b é #": step}, step=step)
    await client.runs.log_metrics(run, {"accuracy": 0.5}, step=2, dataset="test")
    assert await listed(client, run) == [(0, 1.0), (1, 0.5), (2, 1 / 3)]
    rows = {(row["key"], row["dataset"]): row for row in await client.runs.metrics([run])}
    assert rows.keys() == {("loss", ""), ("a/b é #", ""), ("accuracy", "test")}
    loss = rows["loss", ""]
    assert (loss["value"], loss["step"], loss["min"], loss["min_step"]) == (1 / 3, 2, 1 / 3, 2)
    assert (loss["max"], loss["max_step"], loss["count"], loss["first_step"]) == (1.0, 0, 3, 0)
    assert (await client.runs.get(run))["metrics"] == {"loss": 1 / 3, "a/b é #": 2.0}


async def test_a_point_is_there_once_however_often_and_in_which_order_it_comes(client: AsyncClient, run: str) -> None:
    at = datetime(2026, 5, 9, 12, tzinfo=UTC)
    for step, value in ((5, 0.5), (2, NAN), (5, 0.5), (9, math.inf), (2, -NAN), (2, 0.25), (-1, 0.0), (9, math.inf)):
        await client.runs.log_metrics(run, {"loss": value}, step=step, time=at)
    assert str(await listed(client, run)) == "[(-1, 0.0), (2, 0.25), (2, nan), (5, 0.5), (9, inf)]"
    (row,) = await client.runs.metrics([run])
    assert (row["count"], row["nans"], row["max"], row["min"]) == (5, 1, math.inf, 0.0)


async def test_a_long_series_is_read_in_pages_drawn_in_pixels_and_sealed_by_a_digest(
    client: AsyncClient, run: str
) -> None:
    values = [math.sin(step / 500) for step in range(25_000)]
    values[17_777] = 9.0
    times = [1_778_301_120_000 + step for step in range(len(values))]
    await client.runs.log_points(run, "loss", values, times=times)
    before = await client.runs.digest(run)
    await client.runs.log_points(run, "loss", values[:12_000], times=times[:12_000])
    assert await client.runs.digest(run) == before
    assert (before["points"], before["series"]) == (25_000, 1)
    assert [step for step, _ in await listed(client, run)] == [*range(25_000)]
    assert [step for step, _ in await listed(client, run, first=4_000, last=4_200, limit=3)] == [4_000, 4_001, 4_002]
    (curve,) = await client.runs.curves([run], width=100)
    assert len(curve["values"]) <= 400
    assert (curve["points"], curve["steps"][0], curve["steps"][-1]) == (25_000, 0, 24_999)
    assert (max(curve["values"]), min(curve["values"])) == (9.0, min(values))
    (part,) = await client.runs.curves([run], width=100, axis="time", first=times[100], last=times[150])
    assert part["steps"] == [*range(100, 151)]


async def test_as_of_a_time_there_is_what_had_arrived_by_then(client: AsyncClient, run: str) -> None:
    await client.runs.log_metrics(run, {"loss": 1.0}, step=1)
    (first,) = await client.runs.metrics([run])
    then = first["arrived_at"]
    while datetime.now(UTC).timestamp() * 1000 < int(then.timestamp() * 1000) + 1:
        await asyncio.sleep(0.001)
    await client.runs.log_metrics(run, {"loss": 0.0, "late": 1.0}, step=0)
    assert await listed(client, run) == [(0, 0.0), (1, 1.0)]
    assert await listed(client, run, at=then) == [(1, 1.0)]
    (old,) = await client.runs.metrics([run], at=then)
    assert (old["count"], old["min"]) == (1, 1.0)
    assert (await client.runs.get(run, at=then))["metrics"] == {"loss": 1.0}
    assert [curve["points"] for curve in await client.runs.curves([run], at=then)] == [1]
    assert (await client.runs.digest(run, at=then))["points"] == 1


async def test_who_has_no_run_or_too_much_is_told_which_field(platform: Cluster, client: AsyncClient, run: str) -> None:
    with pytest.raises(NotFound, match="there is no run 'r-none'"):
        await client.runs.log_metrics("r-none", {"loss": 0.5})
    with pytest.raises(NotFound):
        await client.runs.metrics([run, "r-none"])
    with pytest.raises(NotFound, match="series"):
        await listed(client, run, "none")
    await client.runs.log_metrics(run, {"loss": 0.5})
    await client.runs.delete(run)
    with pytest.raises(Refused, match=f"run {run} is deleted; restore it first"):
        await client.runs.log_metrics(run, {"loss": 0.5})
    await client.runs.restore(run)
    await client.runs.log_metrics(run, {"loss": 0.25}, step=1)
    async with platform.channel() as channel:
        call = PointsStub(channel).Log(LogRequest(batch=PointBatch(run_id=run)))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    (error,) = orjson.loads(dict(caught.value.trailing_metadata())["forgelog-errors-bin"])
    assert error["field"] == "series"


async def test_the_same_by_http(platform: Cluster, run: str) -> None:
    series = {"key": "loss", "steps": [1, 2], "times": [1_778_301_120_000, 1_778_301_121_000], "values": [0.5, "NaN"]}
    async with platform.http() as http:
        taken = await http.post(f"/v1/runs/{run}/points", json={"series": [series]})
        assert (taken.status_code, taken.json()["points"]) == (200, 2), taken.text
        asked = {"at_least": taken.json()["position"]}
        points = (await http.get(f"/v1/runs/{run}/points", params={"key": "loss", **asked})).json()["points"]
        assert [(point["step"], point["value"]) for point in points] == [(1, 0.5), (2, "NaN")]
        (metric,) = (await http.get("/v1/metrics", params={"run_ids": run})).json()["metrics"]
        assert (metric["value"], metric["max"], metric["time"]) == ("NaN", 0.5, "2026-05-09T04:32:01Z")
        (curve,) = (await http.get("/v1/curves", params={"run_ids": run, "width": 10})).json()["curves"]
        assert curve["values"] == [0.5, "NaN"]
        wrong = await http.post(f"/v1/runs/{run}/points", json={"series": [{**series, "steps": [1]}]})
        assert (wrong.status_code, wrong.json()["error"]["errors"][0]["field"]) == (400, "series[0]")
        none = await http.post("/v1/runs/r-none/points", json={"series": [series]})
        assert (none.status_code, none.json()["error"]["errors"][0]["field"]) == (404, "run_id")
        large = await http.post(f"/v1/runs/{run}/points", content=b" " * 1_000_001, headers=JSON)
        assert large.status_code == 413
        elsewhere = await http.post(f"/v1/runs/{run}/points", json={"run_id": "r2", "series": [series]})
        assert elsewhere.json()["error"]["errors"][0]["field"] == "run_id"


JSON = {"content-type": "application/json"}


async def test_other_programs_write_messages_or_json_to_the_topic(
    platform: Cluster, client: AsyncClient, run: str
) -> None:
    json = {"run_id": run, "series": [{"key": "loss", "steps": [1], "times": [10], "values": [0.5]}]}
    batch = PointBatch(run_id=run)
    batch.series.add(key="loss", steps=(2).to_bytes(8, "little"), times=bytes(8), values=bytes(8))
    wrong = {"run_id": run, "series": [{"key": "x" * 251, "steps": [1], "times": [10], "values": [0.5]}]}
    values = (orjson.dumps(json), orjson.dumps(wrong), batch.SerializeToString(), b"nonsense")
    client._core.wrote(await send(platform, *values, key=run))
    assert await listed(client, run) == [(1, 0.5), (2, 0.0)]
    letters = [letter for letter in await list_dead_letters(platform.settings, "experiments") if letter.key == run]
    reasons = [letter.reason for letter in letters]
    assert len(reasons) == 2
    assert any(reason.startswith("it is no PointBatch") for reason in reasons)
    assert any(reason.startswith("series[0].key: has 251 characters") for reason in reasons)


def many(run: str, first: int, count: int) -> PointBatch:
    """A point of each of so many series."""
    made = PointBatch(run_id=run)
    for number in range(first, first + count):
        made.series.add(key=f"m{number}", steps=bytes(8), times=bytes(8), values=bytes(8))
    return made


async def test_the_gateway_gives_a_run_so_many_series(platform: Cluster, client: AsyncClient, run: str) -> None:
    async with platform.channel() as channel:
        await PointsStub(channel).Log(LogRequest(batch=many(run, 0, 10_000)))
    with pytest.raises(Refused, match="would have 10001 series; at most 10000 are taken"):
        await client.runs.log_metrics(run, {"one more": 0.5})


async def test_the_intake_gives_a_run_so_many_series_and_dead_letters_for_more(
    platform: Cluster, client: AsyncClient, run: str
) -> None:
    batches = [many(run, 0, 9_999), many(run, 9_999, 2), many(run, 9_999, 1)]
    client._core.wrote(await send(platform, *(batch.SerializeToString() for batch in batches), key=run))
    assert (await client.runs.digest(run))["series"] == 10_000
    letters = [letter for letter in await list_dead_letters(platform.settings, "experiments") if letter.key == run]
    assert [letter.reason for letter in letters] == [f"run {run} would have 10001 series; at most 10000 are taken"]


async def test_a_rebuild_gives_the_same_points(platform: Cluster, client: AsyncClient, run: str) -> None:
    await client.runs.log_points(run, "loss", [0.5, NAN, -0.0, math.inf] * 3_000)
    await client.runs.log_metrics(run, {"loss": 0.25, "accuracy": 1.0}, step=7)
    before = await client.runs.digest(run), await client.runs.metrics([run])
    await client.runs.end(run)
    assert (await sealed(client, run)).seal.sealed.digest == before[0]["digest"]
    await rebuild_stream(platform.settings, PointStream())
    assert (await client.seals.verify(run)).intact
    after = await client.runs.digest(run), await client.runs.metrics([run])
    assert str(after) == str(before)
    await client.runs.log_metrics(run, {"loss": 0.125}, step=20_000)
    assert (await client.runs.digest(run))["points"] == before[0]["points"] + 1


async def test_the_command_line_logs_and_draws(platform: Cluster, client: AsyncClient, tmp_path: Path) -> None:
    run = await client.runs.create("drawn")
    for step in ("1", "2"):
        done = await platform.command(tmp_path, "runs", "log", run, "--metric", f"loss={step}.5", "--step", step)
        assert done.returncode == 0, done.stderr
    await once(lambda: client.runs.metrics([run]), lambda rows: rows and rows[0]["count"] == 2)
    shown = await platform.command(tmp_path, "runs", "curves", run)
    assert shown.returncode == 0, shown.stderr
    first, *_, last, _ = shown.stdout.split("\n\n")[0].splitlines() + [""]
    assert (first, last.strip()) == ("loss", f"── {run}  2 points, last 2.5")
    assert "⡀" in shown.stdout or "⢀" in shown.stdout or "⠁" in shown.stdout
    json = await platform.command(tmp_path, "runs", "curves", run, "--key", "loss", "--output", "json")
    assert [curve["values"] for curve in orjson.loads(json.stdout)] == [[1.5, 2.5]]
    await client.runs.log_metrics(run, {"f1": 0.75}, dataset="iris@1")
    await once(lambda: client.runs.metrics([run]), lambda rows: len(rows) == 2)
    told = (await platform.command(tmp_path, "runs", "show", run)).stdout
    assert "loss=2.5" in told
    assert [line.split() for line in told.splitlines()][-1] == ["f1", "iris@1", "0.75", "0"]
    wrong = await platform.command(tmp_path, "runs", "log", run, "--metric", "loss=high")
    assert (wrong.returncode, "--metric loss: 'high' is no number" in wrong.stderr) == (2, True)


async def test_the_programs_of_the_page_print_what_the_page_shows(
    platform: Cluster, client: AsyncClient, tmp_path: Path
) -> None:
    await client.runs.create("of a page", params={"lr": "0.1"})
    page = (Path(__file__).parents[2] / "docs/how-to/experiments.md").read_text()
    (section,) = re.findall(r"^## Metrics$(.*?)^## ", page, re.DOTALL | re.MULTILINE)
    (program,) = re.findall(r"^```python\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    program = program.replace('"digits"', '"of a page"')  # other tests count the runs of that one
    (text,) = re.findall(r"^```text\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    (frames,) = re.findall(r"^## Frames$.*?^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    env = {**os.environ, **platform.place, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program + frames, cwd=tmp_path, env=env, stdout=PIPE, stderr=PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == 0, err.decode()
    assert out.decode().startswith(text)
    *_, mean = out.decode().split()
    assert float(mean) == pytest.approx(sum(1 / step for step in range(1, 11)) / 10)


async def once(ask: Callable[[], Any], so: Callable[[Any], bool]) -> None:
    """Wait until an answer is so: another client wrote what is asked for."""
    async with asyncio.timeout(PATIENCE):
        while not so(await ask()):
            await asyncio.sleep(0.05)
