"""The demo's act with data: a pipeline makes the training data, checks it, and knows where each column is from."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from forgelog.cli.render import Column, column
from forgelog.client.aio import AsyncClient
from forgelog.demo.promises import check
from forgelog.demo.stage import Stage

PIPELINE, DATASET, COUNTS = "digits-data", "digits", "digits-by-label"
IMAGES, PIXELS = 1797, 64
PATIENCE = 90.0
"""Seconds for the run, the start of its worker included."""

_MODULES = ("duckdb", "pyarrow", "sqlglot")
_WORKER = {"cpus": 0.5, "memory_bytes": 512 << 20}
_RULES: list[dict[str, Any]] = [
    {"rule_id": "labels-are-digits", "type": "range", "columns": ["label"], "minimum": 0, "maximum": 9},
    {"rule_id": "pixels-are-known", "type": "custom", "expression": f"len(pixels) = {PIXELS}"},
    {"rule_id": "pixels-are-grey", "type": "custom", "expression": "list_max(pixels) <= 16 AND list_min(pixels) >= 0"},
    {"rule_id": "each-image-once", "type": "uniqueness", "columns": ["id"]},
]
_CHECKS = (
    column("Rule", "rule_id"),
    column("Type"),
    column("Rows", right=True),
    column("Passed", right=True),
    Column("Breached", lambda row: "yes" if row["breached"] else "no"),
)


def missing() -> str:
    """What pipelines lack on this machine, in words; empty if nothing."""
    lacks = [name for name in _MODULES if find_spec(name) is None]
    return f"{', '.join(lacks)} not installed; pip install 'forgelog[pipelines]'" if lacks else ""


def _file() -> Path:
    """scikit-learn's own file of handwritten digits: lines of 64 pixels and a label."""
    import sklearn.datasets

    return Path(sklearn.datasets.__file__).parent / "data" / "digits.csv.gz"


def spec(file: Path) -> dict[str, Any]:
    """The pipeline: lines of a file become a dataset of images that keeps to rules, and a count by label."""
    names = [f"pixel{number}" for number in range(PIXELS)]
    pixels = ", ".join(f"CAST({name} AS DOUBLE)" for name in names)
    read = {
        "type": "file_system",
        "path": str(file),
        "format": {"type": "csv", "csv": {"header": False}},
        "columns": [{"name": name, "type": "DOUBLE"} for name in names] + [{"name": "label", "type": "DOUBLE"}],
    }
    images = f"SELECT row_number() OVER () - 1 AS id, CAST(label AS INTEGER) AS label, [{pixels}] AS pixels FROM lines"
    grouped = {
        "group_by": ["label"],
        "columns": [
            {"name": "images", "expression": "count(*)"},
            {"name": "ink", "expression": "avg(list_sum(pixels))"},
        ],
    }
    return {
        "description": "Handwritten digits, from their file to a dataset that keeps to its rules",
        "stages": [
            {
                "id": "images",
                "inputs": {"lines": {"source": read}},
                "transformations": [{"type": "custom", "custom": {"sql": images}}],
                "rules": [{**rule, "severity": "critical"} for rule in _RULES],
                "sink": {"type": "dataset", "dataset": DATASET},
            },
            {
                "id": "by-label",
                "inputs": {"images": {"stage": "images"}},
                "transformations": [{"type": "aggregate", "aggregate": grouped}],
                "sink": {"type": "dataset", "dataset": COUNTS},
            },
        ],
        "execution": {"worker": _WORKER, "max_workers": 1, "keep_warm_seconds": 1},
    }


class Data:
    """The act. `environment` then tells a training where its images are."""

    def __init__(self, client: AsyncClient, stage: Stage) -> None:
        self._client = client
        self._stage = stage
        self.environment: dict[str, str] = {}

    async def perform(self) -> None:
        self._stage.act("Make the training data by a pipeline: read a file, check its rows, keep them as a dataset")
        if lacks := missing():
            self._stage.say(f"that is left out, and each training reads the file itself: {lacks}")
            return
        await self._client.pipelines.define(PIPELINE, spec(_file()))
        await self._client.pipelines.activate(PIPELINE)
        number = await self._client.pipeline_runs.start(PIPELINE)
        run = await self._client.pipeline_runs.wait(PIPELINE, number, timeout=PATIENCE)
        check(run.status == "completed", f"the pipeline's run is {run.status}: {run.reason}")
        data = self._client.pipeline_data
        made = await data.get(DATASET)
        self._stage.say(f"{DATASET}/{made.version}: {made.rows} images, {made.bytes} bytes in {made.location}")
        check(made.rows == IMAGES, f"{DATASET} has {made.rows} rows")
        checks = await data.checks(dataset=DATASET, run=run.run_id)
        self._stage.table(checks, _CHECKS)
        kept = [each for each in checks if each.passed == IMAGES]
        check(len(kept) == len(_RULES), f"{len(kept)} of {len(_RULES)} rules hold for all rows")
        await self._traced()
        await self._client.pipelines.retire(PIPELINE)
        self.environment = {"DIGITS": f"{DATASET}/{made.version}", "DIGITS_LOCATION": made.location}

    async def _traced(self) -> None:
        """From a column of the last table back to the file."""
        found = await self._client.pipeline_data.lineage(COUNTS, "ink", direction="up")
        by_depth: dict[int, list[Any]] = {}
        for node in found.nodes:
            by_depth.setdefault(node.depth, []).append(node)
        for depth, nodes in sorted(by_depth.items()):
            columns = [node.column for node in nodes]
            shown = f"{columns[0]} … {columns[-1]} ({len(columns)} columns)" if len(columns) > 3 else ", ".join(columns)
            self._stage.say(f"{'  ' * depth}{nodes[0].label}: {shown}")
        first = {node.column for node in by_depth.get(2, ())}
        check(first == {f"pixel{number}" for number in range(PIXELS)}, f"the ink is said to come from {sorted(first)}")
