"""Does stages as an executor does, in the process of a test."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb

from forgelog.worker.job import StageJob
from forgelog.worker.stage import perform

ORDERS = "id,item,price\n1,apple,3\n2,pear,-1\n3,fig,5\n"


class Bench:
    """Does stages as an executor does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.datasets = folder / "datasets"
        self.csv = folder / "orders.csv"
        self.csv.write_text(ORDERS)
        self.versions: dict[str, Any] = {}
        self.required: list[str] = []
        self.engine: dict[str, Any] = {}

    def perform(self, stage: dict[str, Any], phase: str = "run", attempt: int = 1, **more: Any) -> Any:
        return perform(self._work(stage, phase, attempt, **more), self._answer)

    def job(self, stage: dict[str, Any], **changed: Any) -> StageJob:
        """The stage, not done yet."""
        scratch = self.folder / "scratch" / "job"
        scratch.mkdir(parents=True)
        return replace(StageJob.of(self._work(stage), scratch, self._answer), **changed)

    def _work(self, stage: dict[str, Any], phase: str = "run", attempt: int = 1, **more: Any) -> dict[str, Any]:
        return {
            "phase": phase,
            "run_id": "daily.7",
            "attempt": attempt,
            "stage": {"id": "clean", **stage},
            "worker": {
                "pipeline_id": "daily",
                "worker": "pipe.daily.w1",
                "pipeline_version": 1,
                "datasets_url": self.datasets.as_uri(),
                **self.engine,
            },
            "project": "local/default",
            "limit": 1 << 30,
            "scratch": str(self.folder / "scratch"),
            **more,
        }

    def _answer(self, question: Any) -> Any:
        if question["ask"] == "rules":
            return {"rules": [], "required": self.required}
        if (found := self.versions.get(question["name"])) is None:
            raise LookupError(f"there is no dataset {question['name']}")
        return found

    def has(self, url: str) -> bool:
        """Whether there are files below it."""
        folder = Path(url.removeprefix("file://"))
        return any(path.is_file() for path in folder.rglob("*"))

    def source(self, **more: Any) -> dict[str, Any]:
        return {"source": {"type": "file_system", "path": str(self.csv), **more}}

    def cleaning(self, **more: Any) -> dict[str, Any]:
        return {
            "inputs": {"raw": self.source()},
            "transformations": [{"type": "filter", "filter": {"where": "price > 0"}}],
            "sink": {"type": "dataset", "dataset": "clean-orders"},
            **more,
        }

    def published(self) -> list[tuple[Any, ...]]:
        """What the newest version has, as its own description says."""
        place = self.datasets / "local/default/clean-orders"
        versions = sorted(place.glob("_forgelog/*.json"), key=lambda path: int(path.stem))
        described = json.loads(versions[-1].read_text()) if versions else {"files": []}
        files = [str(place / file["path"]) for file in described["files"]]
        if not files:
            return []
        with duckdb.connect() as connection:
            return connection.execute(f"SELECT id, item, price FROM read_parquet({files}) ORDER BY id").fetchall()
