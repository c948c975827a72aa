"""What a replica has done since it started: counts and times, as Triton's clients and Prometheus ask for them."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


@dataclass(slots=True)
class Timing:
    """Where the time of one request went, in seconds."""

    pre: float = 0.0
    wait: float = 0.0
    infer: float = 0.0
    post: float = 0.0
    batch: int = 0
    """The batch's number; 0 if there was none."""
    rows: int = 0
    """Of the batch."""
    requests: int = 0
    """Of the batch."""
    cpu: float = 0.0
    """Its part of the CPU time that the process used for the batch."""
    memory: int = 0
    """Its part of the process's bytes."""
    gpu: float | None = None
    """Its part of the time in which a GPU computed the batch; None without one."""

    def header(self) -> str:
        """As `Server-Timing` has it (W3C), in milliseconds. `batch` is the wait for the batch, and says its number, its
        requests and its rows; `mem` are bytes."""
        gpu = "" if self.gpu is None else f", gpu;dur={self.gpu * 1e3:.3f}"
        return (
            f"pre;dur={self.pre * 1e3:.3f}, infer;dur={self.infer * 1e3:.3f}, post;dur={self.post * 1e3:.3f}, "
            f'batch;dur={self.wait * 1e3:.3f};desc="{self.batch}:{self.requests}:{self.rows}", '
            f'cpu;dur={self.cpu * 1e3:.3f}, mem;desc="{self.memory}"{gpu}'
        )


@dataclass(slots=True)
class Duration:
    """How often something was done, and the time of all together."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.seconds += seconds

    @property
    def ns(self) -> int:
        return int(self.seconds * 1e9)


PARTS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
"""Triton's names: all of a request, its wait, the script before, the model, the script after."""


@dataclass(slots=True)
class Statistics:
    """Of a model in this process."""

    rows: int = 0
    batches: int = 0
    last: float = 0.0
    """When the last request was answered, a POSIX time in seconds."""
    parts: dict[str, Duration] = field(default_factory=lambda: {name: Duration() for name in PARTS})
    sizes: dict[int, Duration] = field(default_factory=lambda: defaultdict(Duration))
    """Rows of a batch → how often, and for how long."""
    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Protocol and outcome (``ok``, ``invalid_argument``) → requests."""

    def batch(self, rows: int, seconds: float) -> None:
        self.batches += 1
        self.sizes[rows].add(seconds)

    def answered(self, protocol: str, code: str, timing: Timing, seconds: float, rows: int) -> None:
        self.answers[protocol, code] += 1
        self.last = time.time()
        if code != "ok":
            self.parts["fail"].add(seconds)
            return
        self.rows += rows
        self.parts["success"].add(seconds)
        self.parts["queue"].add(timing.wait)
        self.parts["compute_input"].add(timing.pre)
        self.parts["compute_infer"].add(timing.infer)
        self.parts["compute_output"].add(timing.post)

    def metrics(self, labels: dict[str, str], ready: bool, in_flight: int) -> Iterator[Metric]:
        """As Prometheus' registry collects them."""
        names, values = list(labels), list(labels.values())
        requests = CounterMetricFamily(
            "forgelog_serving_requests", "Requests answered", labels=[*names, "protocol", "code"]
        )
        for (protocol, code), count in sorted(self.answers.items()):
            requests.add_metric([*values, protocol, code], count)
        yield requests
        seconds = CounterMetricFamily(
            "forgelog_serving_seconds", "Seconds that requests spent", labels=[*names, "part"], unit=""
        )
        for part, duration in self.parts.items():
            seconds.add_metric([*values, part], duration.seconds)
        yield seconds
        for name, text, value in (
            ("forgelog_serving_batches", "Batches that the model computed", self.batches),
            ("forgelog_serving_rows", "Rows that the model computed", self.rows),
        ):
            counter = CounterMetricFamily(name, text, labels=names)
            counter.add_metric(values, value)
            yield counter
        for name, text, level in (
            ("forgelog_serving_ready", "1 while the replica takes requests", float(ready)),
            ("forgelog_serving_in_flight", "Requests that are not answered yet", float(in_flight)),
        ):
            gauge = GaugeMetricFamily(name, text, labels=names)
            gauge.add_metric(values, level)
            yield gauge

    def triton(self, name: str, version: str) -> dict[str, Any]:
        """As the protocol's statistics tell it; times in nanoseconds."""
        return {
            "name": name,
            "version": version,
            "last_inference": int(self.last * 1000),
            "inference_count": self.rows,
            "execution_count": self.batches,
            "inference_stats": {part: _told(each) for part, each in self.parts.items()},
            "batch_stats": [
                {"batch_size": rows, "compute_infer": _told(each)} for rows, each in sorted(self.sizes.items())
            ],
        }


def _told(duration: Duration) -> dict[str, int]:
    return {"count": duration.count, "ns": duration.ns}
