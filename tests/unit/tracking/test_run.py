"""`forgelog.run` without a platform: what a program says is in the spool, whatever the program does."""

from __future__ import annotations

import json
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import forgelog
from events.language.common import ID_PATTERN, MAX_ID
from events.language.experiments import commands, models, points
from events.language.experiments.hyperparameters import MAX_ENTRIES, ParamKey, ParamValue
from forgelog.errors import ForgelogError, InvalidInput, Unavailable
from forgelog.tracking import checking, ending, recording
from forgelog.tracking import run as module
from forgelog.tracking.recording import Recorder
from forgelog.tracking.run import Run
from forgelog.tracking.segments import Reader, Writer
from forgelog.tracking.spool import POINTS, RUN, Destination, Spool
from tests.unit.tracking.inputs import journal, recorded

pytestmark = pytest.mark.usefixtures("spool")


def test_a_run_is_there_with_its_points_and_its_end(spool: Path) -> None:
    with forgelog.run("digits", name="first", params={"lr": 0.1, "opt": {"name": "adam"}}, tags={"team": "a"}) as run:
        run.log(loss=0.5, step=3)
        run.log({"val/loss": 0.25, "acc": 1})
    begin, end, closed = journal(spool)
    assert (begin[0], end[0], closed[0]) == ("CreateRun", "EndRun", "closed")
    assert begin[1]["params"] == {"lr": "0.1", "opt.name": "adam"}
    assert (begin[1]["experiment"], begin[1]["name"], begin[1]["tags"]) == ("digits", "first", {"team": "a"})
    assert end[1]["status"] == "finished"
    assert [(each.series[0], each.step, each.value) for each in recorded(spool)] == [
        ("loss", 3, 0.5), ("val/loss", 4, 0.25), ("acc", 4, 1.0),
    ]  # fmt: skip
    assert all(abs(each.time / 1000 - datetime.now(UTC).timestamp()) < 3600 for each in recorded(spool))
    about = json.loads(next(spool.glob(f"*/{RUN}")).read_text())
    assert (about["run_id"], about["destination"]["gateway"]) == (run.id, "127.0.0.1:1")


def test_all_of_a_spool_is_its_users_alone(spool: Path) -> None:
    with forgelog.run("digits") as run:
        run.log(loss=1)
        run.log_artifact(__file__)
    modes = {each.stat().st_mode & 0o777 for each in [spool, *spool.rglob("*")] if each.is_dir()}
    assert modes == {0o700}
    assert {each.stat().st_mode & 0o777 for each in spool.rglob("*") if each.is_file()} == {0o600}


def test_a_spool_that_others_may_enter_is_refused(spool: Path) -> None:
    spool.mkdir(mode=0o755)
    with pytest.raises(InvalidInput, match=r"others may enter.*chmod 700"):
        forgelog.run("digits")


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (ValueError("secret"), "failed", "ValueError"),
        (json.JSONDecodeError("m", "d", 0), "failed", "json.decoder.JSONDecodeError"),
        (KeyboardInterrupt(), "killed", "interrupted"),
        (ending.Terminated(), "killed", "terminated by SIGTERM"),
        (SystemExit(3), "failed", "exit code 3"),
        (SystemExit(), "finished", ""),
    ],
)
def test_an_error_says_how_a_run_ends(spool: Path, error: BaseException, status: str, reason: str) -> None:
    with pytest.raises(type(error)), forgelog.run("digits"):
        raise error
    (_, body) = journal(spool)[1]
    assert (body["status"], body["reason"]) == (status, reason)


def test_sigterm_ends_a_run_and_the_handler_is_gone_with_it(spool: Path) -> None:
    with pytest.raises(SystemExit) as ended, forgelog.run("digits"):
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended.value.code == 143
    assert journal(spool)[1][1]["status"] == "killed"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_programs_own_handler_of_sigterm_stays() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with forgelog.run("digits"):
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def test_a_run_that_has_ended_takes_nothing_until_it_is_resumed(spool: Path) -> None:
    run = forgelog.run("digits")
    run.end()
    run.end("failed")  # nothing more happens
    for attempt in (lambda: run.log(loss=1), lambda: run.log_params(a=1), lambda: run.set_tags(a=1), run.flush):
        with pytest.raises(ForgelogError, match=r"was ended; resume\(\)"):
            attempt()
    run.resume()
    run.log(loss=2.0, step=7)
    run.end("failed", "by hand")
    assert sorted(kind for kind, _ in journal(spool)) == [
        "CreateRun",
        "EndRun",
        "EndRun",
        "ResumeRun",
        "closed",
        "closed",
    ]
    assert [each.step for each in recorded(spool)] == [7]


@pytest.mark.parametrize(
    ("say", "named"),
    [
        (lambda run: run.log(loss="0.5"), "loss: '0.5' is no number"),
        (lambda run: run.log({"a": 1, "b": None}), "b: 'None' is no number"),
        (lambda run: run.log(loss=10**400), "loss: "),
        (lambda run: run.log(loss=1, step=1.5), "step: '1.5' is no whole number"),
        (lambda run: run.log(loss=1, step=2**63), "step: "),
        (lambda run: run.log(loss=1, time=datetime(2026, 1, 1)), "time: .* no time zone"),
        (lambda run: run.log(loss=1, time=-(10**18)), "time: .* is no time"),
        (lambda run: run.log({"k" * 251: 1}), "metric: has 251 characters; give at most 250"),
        (lambda run: run.log({"": 1}), "metric: is empty"),
        (lambda run: run.log(0.5), "metrics: is a float; give a mapping"),
        (lambda run: run.log({"a\nb": 1}), "metric: .* can't be printed"),
        (lambda run: run.log({7: 1}), "metric: '7' is a int; give text"),
        (lambda run: run.log(loss=1, dataset="d" * 251), "dataset: has 251"),
        (lambda run: run.log(loss=1, model_id="Ä"), "model_id: 'Ä' is no id"),
        (lambda run: run.log({f"k{number}": 1 for number in range(10_001)}), "more than 10000 series"),
        (lambda run: run.log_params({"p": "v" * 6001}), "params.p: has 6001 characters; give at most 6000"),
        (lambda run: run.log_params({"": 1}), "params name: is empty"),
        (lambda run: run.log_params({3: 1}), "params: the name '3' is a int"),
        (lambda run: run.log_params([1]), "params: is a list; give a mapping"),
        (lambda run: run.log_params(known=2), "params.known: is '2', but the run has it as '1' already"),
        (lambda run: run.set_tags(a="v" * 8001), "tags.a: has 8001"),
        (lambda run: run.log_input("", "d"), "name: is empty"),
        (lambda run: run.log_input("n", "d" * 129), "digest: has 129"),
        (lambda run: run.log_artifact("/no/such/file"), "/no/such/file: can't be logged: No such file"),
        (lambda run: run.log_artifact(__file__, folder="../x"), "folder: '../x' is no path in a run"),
        (lambda run: run.end("done"), "status: 'done' is no end"),
    ],
)
def test_what_the_platform_would_refuse_is_refused_at_once(spool: Path, say: Any, named: str) -> None:
    with forgelog.run("digits", params={"known": 1}) as run:
        with pytest.raises(InvalidInput, match=named):
            say(run)
        run.log(loss=1, step=0)
    assert [(each.series[0], each.step) for each in recorded(spool)] == [("loss", 0)]
    assert [kind for kind, _ in journal(spool)] == ["CreateRun", "EndRun", "closed"]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"experiment": "e" * 201}, "experiment: has 201"),
        ({"name": "n" * 251}, "name: has 251"),
        ({"run_id": "R 1"}, "run_id: 'R 1' is no id"),
        ({"seeds": {"np": -1}}, "seeds.np: '-1' is no seed"),
        ({"project": "lab"}, "project: 'lab' is no project"),
        ({"parent": "ä"}, "parent: "),
        ({"address": "no address"}, "not the address of a gateway"),
    ],
)
def test_a_run_with_wrong_words_does_not_begin(spool: Path, given: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        forgelog.run(**given)
    assert [*spool.glob("*")] == []


def test_the_bounds_are_those_of_the_language() -> None:
    def most(kind: Any) -> int:
        return next(each.max_length for each in kind.__metadata__ if getattr(each, "max_length", None))

    def of(model: Any, name: str) -> int:
        return next(each.max_length for each in model.model_fields[name].metadata if hasattr(each, "max_length"))

    assert (most(ParamKey), most(ParamValue)) == (checking.MAX_KEY, checking.MAX_PARAM)
    assert most(models.TagValue) == checking.MAX_TAG
    assert of(commands.CreateRun, "name") == checking.MAX_NAME
    assert checking.MAX_EXPERIMENT == of(commands.CreateRun, "experiment") == of(models.RunInput, "name")
    assert (checking.MAX_SERIES, checking.MAX_KEY) == (points.MAX_SERIES, points.MAX_KEY)
    assert checking.MAX_REASON == commands.MAX_REASON
    assert (most(models.Digest), most(models.Details)) == (checking.MAX_DIGEST, checking.MAX_DETAILS)
    assert checking.MAX_ID == MAX_ID
    assert checking._ID.pattern == ID_PATTERN.removeprefix("^").removesuffix("$")
    assert points.TIMES == checking.TIMES
    assert module.MOST_ENTRIES == MAX_ENTRIES


def test_numbers_of_all_kinds_are_taken(spool: Path) -> None:
    import numpy as np

    with forgelog.run("digits") as run:
        run.log(a=np.float32(0.5), b=np.int64(3), c=True, d=math.nan, e=math.inf, step=np.int64(2))
    assert str([(each.step, each.value) for each in recorded(spool)]) == (
        "[(2, 0.5), (2, 3.0), (2, 1.0), (2, nan), (2, inf)]"
    )


def test_a_call_with_many_metrics_is_kept_whole(spool: Path) -> None:
    with forgelog.run("digits") as run:
        run.log({f"metric {number}": number for number in range(1_500)}, step=1)
    assert sorted(each.value for each in recorded(spool)) == [*range(1_500)]


def test_many_threads_log_to_one_run(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Writer, "SIZE", 1 << 15)
    with forgelog.run("digits") as run:

        def work(number: int) -> None:
            for step in range(2_000):
                run.log({f"loss {number}": step}, step=step)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len({*recorded(spool)}) == len({(each.series, each.step) for each in recorded(spool)}) == 8_000
    assert len([*spool.glob(f"*/{POINTS}*")]) > 4


def test_a_signals_handler_may_log_and_end_while_the_program_logs(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = forgelog.run("digits")
    add = Recorder._add
    inner: list[Any] = [lambda: run.log(inner=2.0, step=7)]

    def interrupted(self: Recorder, *given: Any) -> None:
        if inner:
            inner.pop()()
        add(self, *given)

    monkeypatch.setattr(Recorder, "_add", interrupted)
    run.log(outer=1.0, step=1)
    run.log(outer=1.0, step=2)
    assert [(each.series[0], each.step) for each in recorded(spool)] == [("outer", 1), ("inner", 7), ("outer", 2)]
    inner.append(run.end)
    with pytest.raises(ForgelogError, match="was ended"):
        run.log(outer=1.0, step=3)


def test_a_full_spool_drops_points_counts_them_and_warns_once(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Writer, "SIZE", 4096)
    monkeypatch.setattr(recording, "RETRY", 0)
    monkeypatch.setenv("FORGELOG_SPOOL_LIMIT", "14Ki")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with forgelog.run("digits") as run:
            for step in range(1_000):
                run.log(loss=step, step=step)
            with pytest.raises(InvalidInput, match="loss: 'x'"):
                run.log(loss="x", step=1)
            kept = recorded(spool)
            assert 0 < len(kept) < 1_000
            assert run.dropped == 1_000 - len(kept)
            assert [each.step for each in kept] == [*range(len(kept))]
            for path in sorted(spool.glob(f"*/{POINTS}*"))[:2]:
                path.unlink()  # as if they had been sent
            run.log(loss=0.5, step=5_000)
            assert recorded(spool)[-1].step == 5_000
    assert (
        len([each for each in caught if "points of run" in str(each.message) and "dropped" in str(each.message)]) == 1
    )
    readers = [Reader(path) for path in spool.glob(f"*/{POINTS}*")]
    assert sum(reader.dropped for reader in readers) == run.dropped


def test_a_spool_without_any_room_counts_too(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGELOG_SPOOL_LIMIT", "1")
    with forgelog.run("digits") as run:
        for step in range(10):
            run.log(loss=step)
    (path,) = spool.glob(f"*/{POINTS}*")
    assert (Reader(path).dropped, run.dropped) == (10, 10)


def test_a_limit_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGELOG_SPOOL_LIMIT", "much")
    with pytest.raises(InvalidInput, match=r"FORGELOG_SPOOL_LIMIT: 'much' is not an amount"):
        forgelog.run("digits")


def test_a_file_is_kept_as_it_is_now(spool: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "weights").write_text("then")
    with forgelog.run("digits") as run:
        run.log_artifact(folder / "deep" / "weights", folder="a/b")
        run.log_artifact(folder)
        run.log_artifacts(folder, folder="c")
        (folder / "deep" / "weights").write_text("now")
    places = [spool / run_folder / "files" / body["place"] for run_folder in os.listdir(spool)
              for kind, body in journal(spool) if kind == "artifacts"]  # fmt: skip
    found = {
        str(each.relative_to(place)): each.read_text()
        for place in places
        for each in place.rglob("*")
        if each.is_file()
    }
    assert found == {"a/b/weights": "then", "model/deep/weights": "then", "c/deep/weights": "then"}


def test_a_file_for_which_there_is_no_room_is_sent_from_where_it_lies_or_refused(
    spool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORGELOG_SPOOL_LIMIT", "10Ki")
    monkeypatch.setattr(Run, "flush", lambda *_: False)
    (tmp_path / "large").write_bytes(bytes(20_000))
    with forgelog.run("digits") as run, pytest.raises(Unavailable, match=r"large: has 20000 bytes.*no room"):
        run.log_artifact(tmp_path / "large", folder="a")
    assert ("artifacts", {"source": str(tmp_path / "large"), "folder": "a", "named": True}) in journal(spool)


def test_many_params_are_several_commands_each_of_which_the_platform_takes(spool: Path) -> None:
    with forgelog.run("digits", params={f"first {number}": number for number in range(1_500)}) as run:
        run.log_params({f"p{number}": "v" * 6000 for number in range(200)})
    bodies = [body["params"] for kind, body in journal(spool) if kind in ("CreateRun", "LogRunData")]
    assert [len(body) for body in bodies][:2] == [1000, 500]
    assert max(len(json.dumps(body)) for body in bodies) < 500_000
    assert sum(map(len, bodies)) == 1_700


# Surroundings


def test_in_a_job_the_experiment_is_known_by_its_id_before_its_name(
    spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("EXPERIMENT", "sweep"), ("EXPERIMENT_ID", "e1")):
        monkeypatch.setenv(f"FORGELOG_{name}", value)
    with forgelog.run() as run:
        pass
    (_, body), *_ = journal(spool)
    assert (body["experiment_id"], run.experiment) == ("e1", "sweep")
    assert "experiment" not in body


def test_a_program_that_names_another_experiment_in_a_job_gets_that(
    spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORGELOG_EXPERIMENT_ID", "e1")
    with forgelog.run("other"):
        pass
    (_, body), *_ = journal(spool)
    assert body["experiment"] == "other"
    assert "experiment_id" not in body


def test_in_a_job_a_run_is_its_process(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("JOB", "j1"), ("TASK", "2"), ("ATTEMPT", "3"), ("EXPERIMENT", "sweep"), ("PROJECT", "lab/v")):
        monkeypatch.setenv(f"FORGELOG_{name}", value)
    with forgelog.run(name="x") as run:
        pass
    (_, body), *_ = journal(spool)
    assert body["process"] == {"job_id": "j1", "task": 2, "attempt": 3}
    assert body["experiment"] == "sweep"
    from events.log.ids import id_ending

    assert run.id.endswith(id_ending("lab/v"))
    about = json.loads(next(spool.glob(f"*/{RUN}")).read_text())
    assert (about["project"], about["in_job"]) == ("lab/v", True)


def test_the_run_that_a_job_is_for_is_gone_on_with_once(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGELOG_RUN", "r7")
    with forgelog.run(name="x", params={"a": 1}) as first, forgelog.run() as second:
        assert first.id == "r7" != second.id
    assert {each.name.split("-")[0] for each in spool.iterdir()} == {"r7", second.id}
    kinds = [kind for kind, _ in journal(spool)]
    assert sorted(kinds) == sorted(
        ["ResumeRun", "RenameRun", "LogRunData", "EndRun", "closed", "CreateRun", "EndRun", "closed"]
    )


def test_a_run_may_be_a_part_of_another(spool: Path) -> None:
    with forgelog.run("digits") as outer, forgelog.run("digits", parent=outer):
        pass
    assert outer.id in [body.get("parent_run_id") for kind, body in journal(spool) if kind == "CreateRun"]


def test_where_no_platform_was_ever_started_there_is_none_to_log_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FORGELOG_GATEWAY")
    monkeypatch.setenv("FORGELOG_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(Unavailable, match=r"no platform was ever started in .*nowhere.*forgelog up"):
        forgelog.run("digits")


# Other processes


def script(text: str, *, code: int = 0) -> None:
    """Run a program whose runs nobody sends."""
    head = (
        "import os, signal, sys, forgelog\n"
        "from forgelog.tracking import beginning, run as module\n"
        "from forgelog.tracking.starting import Sender\n"
        "beginning.sender = lambda *given: Sender(*given, starts=False)\n"
        "module.WAIT = 0\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", head + text], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == code, done.stderr


def test_what_was_logged_before_a_kill_is_there(spool: Path) -> None:
    script(
        "run = forgelog.run('digits')\n"
        "for step in range(1000): run.log(loss=step, step=step)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n",
        code=-signal.SIGKILL,
    )
    assert [each.step for each in recorded(spool)] == [*range(1000)]
    assert [kind for kind, _ in journal(spool)] == ["CreateRun"]


def test_without_with_a_run_ends_as_its_program_does(spool: Path) -> None:
    script("forgelog.run('digits')")
    script("forgelog.run('digits')\nraise LookupError('x')", code=1)
    script("forgelog.run('digits')\nos.kill(os.getpid(), signal.SIGTERM)", code=143)
    ends = sorted((body["status"], body["reason"]) for kind, body in journal(spool) if kind == "EndRun")
    assert ends == [("failed", "LookupError"), ("finished", ""), ("killed", "terminated by SIGTERM")]


def test_forked_workers_log_to_the_run_of_their_parent_and_do_not_end_it(spool: Path) -> None:
    script(
        "import multiprocessing, threading\n"
        "context = multiprocessing.get_context('fork')\n"
        "with forgelog.run('digits') as run:\n"
        "    stop = threading.Event()\n"
        "    def busy():\n"
        "        while not stop.is_set(): run.log(parent=1.0)\n"  # holds the lock at the moment of a fork, as a rule
        "    thread = threading.Thread(target=busy)\n"
        "    thread.start()\n"
        "    def work(number):\n"
        "        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL\n"
        "        for step in range(100): run.log({'child': number * 1000 + step}, step=step)\n"
        "        run.log_params({f'child{number}': 'a'})\n"
        "        run.end('failed')\n"
        "    workers = [context.Process(target=work, args=(number,)) for number in range(3)]\n"
        "    for worker in workers: worker.start()\n"
        "    for worker in workers: worker.join()\n"
        "    stop.set(); thread.join()\n"
        "    assert [worker.exitcode for worker in workers] == [0, 0, 0]\n",
    )
    found = sorted(each.value for each in recorded(spool) if each.series[0] == "child")
    assert found == sorted(float(number * 1000 + step) for number in range(3) for step in range(100))
    assert [body["status"] for kind, body in journal(spool) if kind == "EndRun"] == ["finished"]
    assert sum(kind == "LogRunData" for kind, _ in journal(spool)) == 3


def test_a_run_can_be_handed_to_a_process_that_shares_nothing(spool: Path) -> None:
    with forgelog.run("digits") as run:
        data = pickle.dumps(run)
        script(f"import pickle\nrun = pickle.loads({data!r})\nrun.log(loss=5, step=5)\nrun.end()")
        assert [(each.step, each.value) for each in recorded(spool)] == [(5, 5.0)]
    run.end()
    assert sum(kind == "EndRun" for kind, _ in journal(spool)) == 1


def test_a_session_that_is_over_can_be_joined_by_nobody(spool: Path) -> None:
    run = forgelog.run("digits")
    data = pickle.dumps(run)
    run.end()
    for each in spool.iterdir():
        for name in each.iterdir():
            name.unlink()
        each.rmdir()
    with pytest.raises(ForgelogError, match="of a run is over"):
        pickle.loads(data)


def test_what_another_platform_is_meant_for_is_known(spool: Path) -> None:
    with forgelog.run("digits", address="10.0.0.7:7070"):
        pass
    (folder,) = Spool(spool).sessions()
    from forgelog.tracking.spool import About

    assert About.read(folder).destination == Destination(gateway="10.0.0.7:7070")
