"""Types are found by their names, and old versions are brought to the newest one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import orjson
import pytest

from events.language import registry
from events.language.jobs import CancelJob, JobCancelled, JobEnded, JobEvent
from events.language.registry import command_types, event_types, is_event_type, lookup, upcast, upcaster


@pytest.fixture
def upcasters() -> Iterator[None]:
    """Forgets afterwards what a test registers."""
    before = dict(registry.UPCASTERS)
    yield
    registry.UPCASTERS.clear()
    registry.UPCASTERS.update(before)


def test_commands_and_events_are_found_by_type_name() -> None:
    assert lookup("forgelog.jobs.v1.CancelJob") is CancelJob
    assert lookup("forgelog.jobs.v1.JobCancelled") is JobCancelled
    assert lookup("forgelog.jobs.v9.CancelJob") is None
    assert "forgelog.jobs.v1.CancelJob" in command_types()
    assert is_event_type("forgelog.log.v1.CommandRejected")
    assert not is_event_type("forgelog.jobs.v1.CancelJob")


@pytest.mark.parametrize(
    "module", ["services.jobs.service", "services.scheduling.service", "services.resources.agent.agent"]
)
def test_a_process_imports_the_languages_that_it_speaks(module: str) -> None:
    said = (
        f"import {module}, sys\n"
        "from events.language.registry import lookup\n"
        "print(any('language.experiments' in name for name in sys.modules), end=' ')\n"
        "print(lookup('forgelog.experiments.v1.CreateRun').__name__)"
    )
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("False CreateRun\n", "")


def test_threads_that_ask_for_a_language_first_at_once_all_get_it() -> None:
    said = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from events.language.registry import lookup\n"
        "with ThreadPoolExecutor(8) as threads:\n"
        "    found = threads.map(lookup, ['forgelog.jobs.v1.CancelJob', 'forgelog.experiments.v1.CreateRun'] * 4)\n"
        "print({kind.__name__ for kind in found} == {'CancelJob', 'CreateRun'})"
    )
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_classes_that_only_share_fields_are_no_types() -> None:
    assert JobEnded not in event_types().values()
    assert JobEvent not in event_types().values()


def test_every_message_names_an_existing_subject_and_key() -> None:
    for message in (*command_types().values(), *event_types().values()):
        assert message.subject_from in message.model_fields, message
        assert message.key_from in message.model_fields, message


def test_a_current_record_is_passed_on_as_it_is() -> None:
    value = b'{"job_id":  "a"}'
    assert upcast("forgelog.jobs.v1.CancelJob", value) == ("forgelog.jobs.v1.CancelJob", value)


@pytest.mark.usefixtures("upcasters")
def test_an_old_record_goes_through_every_version_between() -> None:
    @upcaster("forgelog.jobs.v0.JobCancelled", JobCancelled)
    def _(data: dict[str, object]) -> dict[str, object]:
        return {**data, "reason": data.pop("why", "")}

    @upcaster("forgelog.jobs.v0.JobAborted", "forgelog.jobs.v0.JobCancelled")
    def _(data: dict[str, object]) -> dict[str, object]:
        return {**data, "why": "aborted"}

    name, value = upcast("forgelog.jobs.v0.JobAborted", b'{"job_id":"a"}')
    assert name == "forgelog.jobs.v1.JobCancelled"
    assert orjson.loads(value)["reason"] == "aborted"
    assert is_event_type("forgelog.jobs.v0.JobAborted")


def test_a_current_type_cannot_have_an_upcaster() -> None:
    with pytest.raises(ValueError, match="raise its version"):
        upcaster("forgelog.jobs.v1.CancelJob", CancelJob)
