"""TensorBoard's event files: scalars of both forms and hyperparameters; damage is named, and the rest is read."""

from __future__ import annotations

import math
import shutil
import struct
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiokafka.record.util import calc_crc32c

from forgelog.importing.event_files import MAX_RECORD, masked, scalar_of
from forgelog.importing.source import SourceRun, Trouble, Unreadable
from forgelog.importing.tensorboard import TensorBoard
from forgelog_pb.tensorboard.v1.events_pb2 import Event, Tensor
from tests.importing import FOLDER

LOGS = FOLDER / "tensorboard"


def record(event: Event) -> bytes:
    data = event.SerializeToString()
    length = struct.pack("<Q", len(data))
    checks = [struct.pack("<I", masked(calc_crc32c(part))) for part in (length, data)]
    return length + checks[0] + data + checks[1]


def scalar(step: int, value: float, tag: str = "loss", time: float = 1.0) -> bytes:
    event = Event(step=step, wall_time=time)
    event.summary.value.add(tag=tag, simple_value=value)
    return record(event)


def written(folder: Path, *records: bytes, name: str = "events.out.tfevents.1.host") -> TensorBoard:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"".join(records))
    return TensorBoard(folder)


def read(source: TensorBoard) -> tuple[dict[str, list[tuple[int, float]]], list[str]]:
    contents = source.contents()
    troubles: list[Trouble] = list(contents.troubles)
    found: dict[str, list[tuple[int, float]]] = {}
    for run in contents.runs:
        for each in source.points(run, troubles):
            found.setdefault(each.key, []).extend(zip(each.steps, each.values, strict=True))
    return found, [str(trouble) for trouble in troubles]


def by_name(source: TensorBoard) -> dict[str, SourceRun]:
    return {run.name: run for run in source.contents().runs}


def test_what_tensorflow_2_writes() -> None:
    source = TensorBoard(LOGS)
    run = by_name(source)["keras/train"]
    assert (run.started_at, run.where) == (datetime(2026, 5, 9, 3, 12, 1, 500_000, tzinfo=UTC), "run keras/train")
    content = source.content(run)
    assert content.params == {"lr": "0.1", "layers": "3", "opt": "adam", "bias": "True"}
    assert (content.status, content.ended_at) == ("failed", datetime(2026, 5, 9, 3, 13, tzinfo=UTC))
    series = {each.key: each for each in source.points(run, [])}
    assert [*series] == ["epoch_loss", "lr/é"]
    loss = series["epoch_loss"]
    assert ([*loss.steps], str([*loss.values])) == ([0, 1, 2, 3], "[1.0, 0.5, nan, inf]")
    assert loss.times[0] == 1_778_296_322_500
    assert source.notes() == []


def test_what_pytorch_writes() -> None:
    source = TensorBoard(LOGS, "nets")
    run = by_name(source)["torch"]
    assert [experiment.name for experiment in source.contents().experiments] == ["nets"]
    series = {each.key: each for each in source.points(run, [])}
    assert [*series["loss"].values] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4, 1 / 5])
    assert ([*series["Acc/val"].steps], [*series["Acc/val"].values]) == ([2**40], [-1.5])
    content = source.content(run)
    assert (content.params, content.status) == ({}, "")
    assert content.ended_at == datetime(2026, 5, 9, 3, 12, 14, 750_000, tzinfo=UTC)
    told = "what is no scalar has no place here and was left out: 1 of histogram, 1 of image, 1 of text"
    assert source.notes() == [told]


def test_a_run_is_known_wherever_its_folder_lies(tmp_path: Path) -> None:
    shutil.copytree(LOGS / "torch", tmp_path / "logs/new/place")
    moved = TensorBoard(tmp_path / "logs/new", "tensorboard")
    assert [run.key for run in moved.contents().runs] == [by_name(TensorBoard(LOGS))["torch"].key]
    before = moved.fingerprint(moved.contents().runs[0])
    with (tmp_path / "logs/new/place").joinpath("events.out.tfevents.1778296327.vm").open("ab") as file:
        file.write(scalar(9, 1.0))
    assert moved.fingerprint(moved.contents().runs[0]) != before


def test_files_of_one_folder_are_one_run_and_copies_are_named(tmp_path: Path) -> None:
    written(tmp_path / "logs", scalar(0, 1.0), name="events.out.tfevents.1.host")
    written(tmp_path / "logs", scalar(1, 2.0), name="events.out.tfevents.2.host")
    shutil.copytree(tmp_path / "logs", tmp_path / "copy")
    shutil.move(tmp_path / "copy", tmp_path / "logs/copy")
    found, troubles = read(TensorBoard(tmp_path / "logs"))
    assert found == {"loss": [(0, 1.0), (1, 2.0)]}
    assert troubles == ["copy: has the same files as logs"]


def test_a_wrong_checksum_costs_its_record(tmp_path: Path) -> None:
    bad = bytearray(scalar(1, 2.0))
    bad[-6] ^= 1
    found, troubles = read(written(tmp_path / "logs", scalar(0, 1.0), bytes(bad), scalar(2, 3.0)))
    assert found == {"loss": [(0, 1.0), (2, 3.0)]}
    place = len(scalar(0, 1.0))
    assert troubles == [f"run logs, events.out.tfevents.1.host: the record at byte {place} has a wrong checksum"]


def test_a_wrong_length_costs_the_rest_of_the_file_and_of_no_other(tmp_path: Path) -> None:
    bad = bytearray(scalar(1, 2.0))
    bad[0] ^= 1
    written(tmp_path / "logs", scalar(9, 9.0), name="events.out.tfevents.2.host")
    found, (trouble,) = read(written(tmp_path / "logs", scalar(0, 1.0), bytes(bad), scalar(2, 3.0)))
    assert found == {"loss": [(0, 1.0), (9, 9.0)]}
    assert trouble.endswith("has a length with a wrong checksum; the rest of the file is not read")


@pytest.mark.parametrize(("size", "there"), [(MAX_RECORD + 1, True), (MAX_RECORD + 1, False), ((1 << 64) - 1, False)])
def test_a_record_beyond_the_limit_is_passed_over(tmp_path: Path, size: int, there: bool) -> None:
    length = struct.pack("<Q", size)
    head = length + struct.pack("<I", masked(calc_crc32c(length)))
    source = written(tmp_path / "logs", scalar(0, 1.0), head)
    with (tmp_path / "logs/events.out.tfevents.1.host").open("r+b") as file:
        file.seek(size + 4 if there else 100, 2)  # a hole: it takes no room
        file.write(scalar(1, 2.0))
    found, (trouble,) = read(source)
    assert found == {"loss": [(0, 1.0), (1, 2.0)] if there else [(0, 1.0)]}
    assert trouble.endswith(f"has {size} bytes; {MAX_RECORD} are read at most")


@pytest.mark.parametrize("left", [1, 11, 12, 20, 40])
def test_the_end_of_a_killed_writer_is_no_trouble(tmp_path: Path, left: int) -> None:
    assert read(written(tmp_path / "logs", scalar(0, 1.0), scalar(1, 2.0)[:left]))[1] == []


def test_what_is_no_event_is_named(tmp_path: Path) -> None:
    data = b"\xff" * 20
    length = struct.pack("<Q", len(data))
    bad = b"".join(part + struct.pack("<I", masked(calc_crc32c(part))) for part in (length, data))
    found, troubles = read(written(tmp_path / "logs", bad, scalar(2, 3.0), scalar(3, 1.0, time=math.nan)))
    assert found == {"loss": [(2, 3.0)]}
    assert [trouble.partition(": ")[2] for trouble in troubles] == [
        "the record at byte 0 is no event",
        "'loss', step 3: the time is nan",
    ]


def test_links_out_are_not_followed(tmp_path: Path) -> None:
    written(tmp_path / "elsewhere", scalar(0, 1.0))
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/events.out.tfevents.1.x").symlink_to(tmp_path / "elsewhere/events.out.tfevents.1.host")
    contents = TensorBoard(tmp_path / "logs").contents()
    assert list(contents.runs) == []
    assert "out of" in contents.troubles[0].problem


def test_a_folder_without_event_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="has no event files of TensorBoard"):
        TensorBoard(tmp_path).contents()


@pytest.mark.parametrize(
    ("tensor", "number"),
    [
        (Tensor(dtype=1, float_val=[0.5]), 0.5),
        (Tensor(dtype=1), 0.0),
        (Tensor(dtype=2, tensor_content=struct.pack("<d", math.pi)), math.pi),
        (Tensor(dtype=3, int_val=[7]), 7.0),
        (Tensor(dtype=9, tensor_content=struct.pack("<q", -7)), -7.0),
        (Tensor(dtype=10, bool_val=[True]), 1.0),
        (Tensor(dtype=19, half_val=[0x3C00]), 1.0),
        (Tensor(dtype=14, half_val=[0x3F80]), 1.0),
        (Tensor(dtype=14, tensor_content=b"\x80\x3f"), 1.0),
        (Tensor(dtype=7), None),
        (Tensor(dtype=1, tensor_content=b"abc"), None),
        (Tensor(dtype=1, float_val=[1, 2], tensor_shape={"dim": [{"size": 2}]}), None),
        (Tensor(dtype=1, float_val=[3], tensor_shape={"dim": [{"size": 1}]}), 3.0),
    ],
)
def test_a_tensor_with_one_number_is_a_scalar(tensor: Tensor, number: float | None) -> None:
    assert scalar_of(tensor) == number
