"""How stages run on Spark, where a pipeline's engine is that."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from events.language.base import Model
from events.language.common import shown

SettingName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_.-]*$", max_length=200)]
"""Such as ``spark.sql.shuffle.partitions``."""

_SECRET = re.compile(r"secret|password|token|credential|access\.?key", re.IGNORECASE)


class SparkOptions(Model):
    """Where Spark is, and what it is told."""

    remote: Annotated[str, StringConstraints(pattern=r"^$|^sc://[A-Za-z0-9.:_-]+$", max_length=300)] = Field(
        default="", examples=["sc://spark.internal:15002"]
    )
    """A server of Spark Connect. Empty: each worker starts a Spark of its own, with the worker's memory and CPUs, which
    needs a JDK on the node."""
    folder: Annotated[str, StringConstraints(pattern=r"^$|^/", max_length=1_000)] = Field(
        default="", examples=["/shared/spark"]
    )
    """A folder that workers and Spark's executors both see: rows go between them as files there. Empty: the worker's
    scratch space, which is right for a Spark of its own."""
    settings: dict[SettingName, Annotated[str, StringConstraints(max_length=2_000)]] = Field(
        default_factory=dict, max_length=200
    )
    """Spark's own. Those on which equal results depend are refused when a stage runs."""

    @model_validator(mode="after")
    def _plain(self) -> SparkOptions:
        if self.remote and not self.folder:
            raise ValueError("remote is given without folder; give a folder that both sides see, such as /shared/spark")
        if wrong := next((name for name in self.settings if _SECRET.search(name)), ""):
            raise ValueError(f"settings has {shown(wrong)}, a secret; give it to the server of Spark itself")
        return self
