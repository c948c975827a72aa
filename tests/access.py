"""Who a test is at the session's servers, which ask as the platform's own do."""

from __future__ import annotations

from pathlib import Path

from events.process.settings import Settings
from forgelog.embedded.kafka_users import PRODUCER, Users, admit


def as_user(settings: Settings, user: str) -> Settings:
    """The same settings for another user of the broker; a given broker that asks nobody knows no users."""
    if settings.kafka_config is None:
        return settings
    return settings.model_copy(update={"kafka_config": Users(settings.kafka_config.parent).file(user)})


def librdkafka(settings: Settings, user: str = PRODUCER) -> dict[str, str]:
    """The configuration of a librdkafka program: ``kcat.conf``, read as one does."""
    config = as_user(settings, user).kafka_config
    lines = config.read_text().splitlines() if config is not None else []
    return {"bootstrap.servers": settings.kafka_required, **dict(line.split("=", 1) for line in lines)}


def kcat_conf(settings: Settings, folder: Path) -> Path:
    """What ``~/.forgelog/kcat.conf`` is to the reader of a page, made in `folder`."""
    file = folder / "kcat.conf"
    file.write_text("".join(f"{name}={value}\n" for name, value in librdkafka(settings).items()))
    return file


def java_properties(settings: Settings, user: str = PRODUCER) -> dict[str, str]:
    """The same for a program of Kafka's own clients in Java."""
    told = librdkafka(settings, user)
    if "sasl.username" not in told:
        return told
    login = f'username="{told.pop("sasl.username")}" password="{told.pop("sasl.password")}"'
    module = "org.apache.kafka.common.security.plain.PlainLoginModule"
    return {**told, "sasl.jaas.config": f"{module} required {login};"}


async def admit_users(settings: Settings) -> None:
    """Let the session's users use the topics of this test's platform."""
    if settings.kafka_config is not None:
        await admit(settings)


def environment(settings: Settings) -> dict[str, str]:
    """Of a process that uses these servers."""
    return {
        "FORGELOG_KAFKA": settings.kafka_required,
        "FORGELOG_KAFKA_CONFIG": str(settings.kafka_config or ""),
        "FORGELOG_POSTGRES": settings.postgres_required,
    }


def environment_of(settings: Settings) -> dict[str, str]:
    """Of a process that works for the platform of these settings."""
    return {
        **environment(settings),
        "FORGELOG_PREFIX": settings.prefix,
        "FORGELOG_SCHEMA": settings.schema_,
        "FORGELOG_DATA": str(settings.data),
    }
