"""What the embedded broker is started with."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from forgelog.embedded.kafka import Kafka, cluster_id
from forgelog.embedded.kafka_users import PLATFORM
from forgelog.embedded.process import EmbeddedError


def test_a_cluster_id_is_never_taken_for_an_option() -> None:
    """One UUID in 64 begins with '-' in base 64; `kafka-storage format --cluster-id` then finds no argument."""
    drawn = iter([uuid.UUID(int=0b111110 << 122), uuid.UUID(int=0b111110 << 122 | 1), uuid.UUID(int=1)])
    assert cluster_id(lambda: next(drawn)) == "AAAAAAAAAAAAAAAAAAAAAQ"


def test_a_broker_of_the_version_before_is_not_taken_over(tmp_path: Path) -> None:
    """It may have outlived its supervisor, and asks nobody for a password: it has to start again."""
    kafka = Kafka(tmp_path / "kafka", tmp_path / "kafka.log")
    kafka.folder.mkdir()
    kafka._choose_ports()
    with pytest.raises(EmbeddedError, match="has no users yet"):
        kafka.spec()
    kafka.users.write(kafka.address)
    assert kafka.spec().name == "kafka"


async def test_a_password_that_can_not_be_read_is_told_and_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forgelog.embedded.kafka.answers", lambda _: True)
    kafka = Kafka(tmp_path / "kafka", tmp_path / "kafka.log")
    kafka.folder.mkdir()
    kafka._choose_ports()
    kafka.users.write(kafka.address)
    kafka.users.file(PLATFORM).chmod(0o644)
    with pytest.raises(EmbeddedError, match="can be read by other users"):
        await kafka.ready()
