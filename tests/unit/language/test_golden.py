"""History stays readable: every version ever shipped decodes, and says what it said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from events.language.registry import command_types, event_types, lookup, upcast
from events.log.wire import value_of
from proto.golden import FOLDER, MODELS, defaults, missing, recorded_defaults, wanted, write_missing
from proto.samples import full

SAMPLES = sorted(FOLDER.glob("forgelog.*.json"))
INNER = sorted(FOLDER.glob(f"{MODELS}/*.json"))


def test_every_type_and_model_has_a_golden_sample() -> None:
    assert missing() == [], "run `python -m proto.golden` and commit the new files"


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_recorded_sample_is_read_and_written_without_loss(path: Path) -> None:
    record = json.loads(path.read_text())
    recorded = json.dumps(record["value"]).encode()

    name, value = upcast(record["type"], recorded)
    kind = lookup(name)
    assert kind is not None, f"{record['type']} can't be read any more; add an upcaster"
    message = kind.model_validate_json(value)
    again = json.loads(message.model_dump_json())

    # Fields that came later appear with their defaults; what was recorded is all there.
    _assert_within(json.loads(value), again, name)
    assert kind.model_validate(again) == message


@pytest.mark.parametrize("path", INNER, ids=lambda path: path.stem)
def test_a_recorded_model_is_read_and_written_without_loss(path: Path) -> None:
    record = json.loads(path.read_text())
    kind = wanted().get(f"{MODELS}/{path.stem}")
    assert kind is not None, f"{path.stem} is gone; delete its sample once no message that is written has it"
    model = kind.model_validate_json(json.dumps(record["value"]))
    again = json.loads(model.model_dump_json())
    _assert_within(record["value"], again, record["type"])
    assert kind.model_validate(again) == model


def _assert_within(recorded: Any, present: Any, path: str) -> None:
    if isinstance(recorded, dict):
        assert isinstance(present, dict), path
        for key, value in recorded.items():
            assert key in present, f"{path}.{key} is lost"
            _assert_within(value, present[key], f"{path}.{key}")
    elif isinstance(recorded, list):
        assert len(recorded) == len(present), path
        for index, (old, new) in enumerate(zip(recorded, present, strict=True)):
            _assert_within(old, new, f"{path}[{index}]")
    else:
        assert recorded == present, path


def test_recording_never_changes_a_sample_that_exists(tmp_path: Path) -> None:
    names = {"forgelog.jobs.v1.CancelJob", "models/jobs.JobSpec"}
    (tmp_path / MODELS).mkdir()
    for name in names:
        (tmp_path / f"{name}.json").write_text("recorded long ago")
    assert names.isdisjoint(write_missing(tmp_path))
    assert {(tmp_path / f"{name}.json").read_text() for name in names} == {"recorded long ago"}
    assert missing(tmp_path) == []


def test_a_default_never_changes_for_history_leaves_defaults_out() -> None:
    now = defaults()
    for model, fields in recorded_defaults().items():
        for name, default in fields.items():
            if name in now.get(model, {}):
                # of a default that is a model: what that model has since has a default of its own
                where = f"{model}.{name}: raise the version of the messages that hold it"
                _assert_within(default, now[model][name], where)


def test_every_default_is_recorded() -> None:
    recorded = recorded_defaults()
    fresh = [(model, name) for model, fields in defaults().items() for name in fields.keys() - recorded.get(model, {})]
    assert fresh == [], "run `python -m proto.golden` and commit tests/golden/defaults.json"


@pytest.mark.parametrize("kind", [*command_types().values(), *event_types().values()], ids=lambda kind: kind.__name__)
def test_what_is_written_without_defaults_reads_back_the_same(kind: Any) -> None:
    message = full(kind)
    assert kind.model_validate_json(value_of(message)) == message
