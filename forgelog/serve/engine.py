"""What a replica does with a request, whatever protocol it came by. Knows no protocol.

1. Refuse it where the replica does not serve, or has another model.
2. Check its tensors against what requests may have.
3. Run the script before, and check what it made.
4. Wait for a batch; the model computes.
5. Check the answer, run the script after, and check what that made.

A request that is over its time is answered so, whichever step it is in. One that is computed in a moment, by a model
whose calls are (see `brief`), goes through all steps at once, without a thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

from events.language.common import shown
from events.language.deployments.serving import ServingSpec
from forgelog.serve import scripts, spans
from forgelog.serve.batching import Batcher, Computed
from forgelog.serve.brief import Brief
from forgelog.serve.drift_counts import DriftCounts
from forgelog.serve.limited import LimitedPool, Overrun
from forgelog.serve.own_metrics import own_metrics
from forgelog.serve.problems import SIGN, Fault, NotServableHere, ServingError
from forgelog.serve.request_log import RequestLog
from forgelog.serve.runtimes.base import LoadedModel, computes_itself, uses_gpu
from forgelog.serve.schema import Schema, Tensors, TensorSchema, rows_of, seen, size_of, zeros_of
from forgelog.serve.statistics import Statistics, Timing
from forgelog.serve.streaming import parts_of
from forgelog.serve.usage import Resident

MOST_TOLD = 300
"""Most characters of an error that a router is told: it comes in a header."""

T = TypeVar("T")


@dataclass(slots=True)
class InferRequest:
    """A request, its tensors read."""

    protocol: str
    """``rest``, ``grpc``, ``websocket`` or ``graphql``."""
    model: str
    version: str
    """Empty: any."""
    inputs: Tensors
    parameters: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""


@dataclass(slots=True)
class Answer:
    """Outputs in the order of the schema."""

    outputs: Tensors
    timing: Timing


class Engine:
    """Serves one model. Used from one event loop."""

    def __init__(
        self, spec: ServingSpec, model: LoadedModel, failed: Callable[[str], None], labels: Sequence[str] = ()
    ) -> None:
        """`failed`: called with the reason when the process must be replaced. `labels`: names of classes, by their
        indexes. Raises `NotServable`."""
        self.spec = spec
        self.model = model
        self.labels = labels
        self.version = str(spec.model.version)
        self.statistics = Statistics()
        self.in_flight = 0
        self.problem = ""
        """Why it does not serve; empty while it does."""
        self._failed = failed
        self._pre = scripts.read(spec.processing.pre, "preprocess", "INPUTS")
        self._post = scripts.read(spec.processing.post, "postprocess", "OUTPUTS")
        self._log = RequestLog(spec.monitoring.logging)
        self._resident = Resident()
        self._on_gpu = uses_gpu(model)
        self._threads = LimitedPool("the model", model.concurrency, self._stuck)
        self._scripts = LimitedPool("a script", scripts.THREADS, self._stuck) if self._pre or self._post else None
        self._batcher = Batcher(
            self._compute,
            spec.batching,
            spec.limits.max_waiting,
            mergeable=model.mergeable,
            at_a_time=model.concurrency,
        )
        at_once = computes_itself(model) and self._scripts is None and not self._batcher.merges
        self._brief = Brief() if at_once else None
        self._own = Schema(model.inputs, spec.schemas.request if not self._pre else ())
        self.inputs = Schema(self._pre.tensors or model.inputs, spec.schemas.request) if self._pre else self._own
        own = self._own.tensors if self._pre is not None else ()
        self.counted = DriftCounts(spec, self.inputs.tensors, own)
        self.metrics = own_metrics(model)
        self._idle = asyncio.Event()
        self._idle.set()
        if model.outputs is not None:
            self._know_outputs(tuple(model.outputs))
        self.problem = "it is starting"

    def _know_outputs(self, outputs: tuple[TensorSchema, ...]) -> None:
        rules = self.spec.schemas.response
        self._answers = Schema(outputs, rules if not self._post else ())
        self.outputs = Schema(self._post.tensors or outputs, rules) if self._post else self._answers
        self.counted.know_outputs(self.outputs.tensors)

    @property
    def ready(self) -> bool:
        return not self.problem

    @property
    def rows_at_once(self) -> int:
        """Most rows of a batch, as clients are told; 0 where requests are computed one by one."""
        return self.spec.batching.max_size if self.spec.batching.enabled and self.model.mergeable else 0

    async def start(self) -> None:
        """Warm the model up, and serve. Raises `NotServable`."""
        self._batcher.start()
        await self._warm_up()
        self.problem = ""

    async def drain(self) -> None:
        """Take no more, end what was taken (for so long as `limits.drain_seconds`), and let go of the model."""
        self.problem = self.problem or "it is stopping"
        try:
            async with asyncio.timeout(self.spec.limits.drain_seconds):
                await self._idle.wait()
        except TimeoutError:
            pass  # those that are left are cut off with the process
        await self._batcher.stop()
        self.model.close()
        for pool in (self._threads, self._scripts):
            if pool is not None:
                pool.close()

    def check_model(self, name: str, version: str) -> None:
        """Raise `ServingError` for a model that is not served here."""
        if name != self.spec.model.name:
            raise ServingError(
                Fault.NOT_FOUND, f"model {shown(name)} is not served here; there is {shown(self.spec.model.name)}"
            )
        if version and version != self.version:
            raise ServingError(
                Fault.NOT_FOUND,
                f"version {shown(version)} of {shown(name)} is not served here; there is {self.version}",
            )

    def check_ready(self) -> None:
        if self.problem:
            raise ServingError(Fault.UNAVAILABLE, f"the replica takes no requests: {self.problem}")

    @property
    def may_answer_at_once(self) -> bool:
        """Whether there may ever be requests that `at_once` answers."""
        return self._brief is not None

    def at_once(self, request: InferRequest) -> Answer | None:
        """The answer, if it is computed in a moment; else None. Raises `ServingError`."""
        if self._brief is None or not self._brief.is_brief(size_of(request.inputs)):
            return None
        came, timing, rows = time.perf_counter(), Timing(), 0
        code, error, ours = "ok", "", False
        outputs: Tensors = {}
        try:
            self.check_ready()
            self.check_model(request.model, request.version)
            self.inputs.check_inputs(request.inputs)
            self.counted.asked(request.inputs, request.inputs)
            began, cpu = time.perf_counter(), time.process_time()
            try:
                made = self.model.predict(request.inputs, request.parameters)
            except ServingError:
                raise
            except Exception as problem:
                raise _failure(problem) from problem
            took, used = time.perf_counter() - began, time.process_time() - cpu
            self._brief.took(size_of(request.inputs), took)
            count = rows_of(request.inputs)
            self.statistics.batch(count, took)
            self._note(timing, Computed(made, self._batcher.number(), count, 1, 0.0, took, used))
            outputs, rows = self._answers.answered(made, "the model"), count
        except ServingError as problem:
            code, error, ours = problem.fault.code.lower(), problem.message, problem.fault.ours
            raise
        finally:
            self._ended(request, outputs, timing, rows, came, (code, error, ours))
        return Answer(outputs, timing)

    async def infer(self, request: InferRequest) -> Answer:
        """Raises `ServingError`."""
        if (found := self.at_once(request)) is not None:
            return found
        timing = Timing()
        rows = 0
        async with self._tracked(request, timing) as told:
            inputs = await self._prepared(request, timing)
            rows = rows_of(inputs)
            self.counted.asked(request.inputs, inputs)
            computed = await self._batcher.infer(inputs, request.parameters)
            self._note(timing, computed)
            answer = Answer(await self._finished(computed.outputs, request, timing), timing)
            told(answer.outputs, rows)
        return answer

    async def stream(self, request: InferRequest) -> AsyncIterator[Answer]:
        """The answer part by part; one part from a model that has no others. Raises `ServingError`."""
        if not self.model.streams:
            yield await self.infer(request)
            return
        timing = Timing()
        async with self._tracked(request, timing, limited=False) as told:
            inputs = await self._prepared(request, timing)
            self.counted.asked(request.inputs, inputs)
            on_thread = partial(self._on_thread, "a part of the answer")
            async for part, seconds in parts_of(self.model, inputs, request.parameters, on_thread):
                timing.infer += seconds
                yield Answer(await self._finished(part, request, timing), timing)
            told({}, rows_of(inputs))

    async def _prepared(self, request: InferRequest, timing: Timing) -> Tensors:
        """Steps 1 to 3."""
        self.check_ready()
        self.check_model(request.model, request.version)
        if self.in_flight > self.spec.limits.max_waiting:
            raise ServingError(Fault.UNAVAILABLE, f"{self.in_flight - 1} requests wait already; try again in a moment")
        self.inputs.check_inputs(request.inputs)
        if self._pre is None:
            return request.inputs
        began = time.perf_counter()
        assert self._scripts is not None
        limit = self.spec.processing.time_limit_seconds
        made = await self._pre.run(self._scripts, limit, request.inputs, request.parameters)
        fitted = self._own.fitted(made, "the deployment's preprocess")
        timing.pre = time.perf_counter() - began
        return fitted

    async def _finished(self, outputs: Tensors, request: InferRequest, timing: Timing) -> Tensors:
        """Step 5."""
        answered = self._answers.answered(outputs, "the model")
        if self._post is None:
            return answered
        began = time.perf_counter()
        assert self._scripts is not None
        limit = self.spec.processing.time_limit_seconds
        made = await self._post.run(self._scripts, limit, answered, request.parameters)
        fitted = self.outputs.answered(made, "the deployment's postprocess")
        timing.post += time.perf_counter() - began
        return fitted

    async def _compute(self, inputs: Tensors, parameters: Mapping[str, Any]) -> Tensors:
        """One batch. Raises `ServingError`."""
        began = time.perf_counter()
        outputs, took = await self._on_thread("the model", lambda: _timed(self.model, inputs, parameters))
        if self._brief is not None:
            self._brief.took(size_of(inputs), took)
        self.statistics.batch(rows_of(inputs), time.perf_counter() - began)
        return outputs

    async def _on_thread(self, what: str, work: Callable[[], T]) -> T:
        """What the model gives to one call. `what`: takes too long, if it does. Raises `ServingError`."""
        limit = self.spec.limits.timeout_seconds
        try:
            return await self._threads.call(work, limit)
        except Overrun:
            raise ServingError(Fault.TOO_LATE, f"{what} took longer than {limit:g} s") from None
        except ServingError:
            raise
        except Exception as error:
            raise _failure(error) from error

    @asynccontextmanager
    async def _tracked(
        self, request: InferRequest, timing: Timing, *, limited: bool = True
    ) -> AsyncIterator[Callable[[Tensors, int], None]]:
        """Counts a request, ends it when its time is over, and writes it down."""
        began = time.perf_counter()
        self.in_flight += 1
        self._idle.clear()
        code, error, ours = "ok", "", False
        outputs: Tensors = {}
        rows = 0

        def told(made: Tensors, count: int) -> None:
            nonlocal outputs, rows
            outputs, rows = made, count

        limit = self.spec.limits.timeout_seconds
        try:
            async with asyncio.timeout(limit if limited else None):
                yield told
        except ServingError as problem:
            code, error, ours = problem.fault.code.lower(), problem.message, problem.fault.ours
            raise
        except TimeoutError:
            code, error, ours = "deadline_exceeded", f"the request took longer than {limit:g} s", True
            raise ServingError(Fault.TOO_LATE, error) from None
        except (asyncio.CancelledError, GeneratorExit):
            code = "cancelled"
            raise
        finally:
            self.in_flight -= 1
            if not self.in_flight:
                self._idle.set()
            self._ended(request, outputs, timing, rows, began, (code, error, ours))

    def _ended(
        self,
        request: InferRequest,
        outputs: Tensors,
        timing: Timing,
        rows: int,
        began: float,
        came: tuple[str, str, bool],
    ) -> None:
        """Counts a request, and writes it down. `came`: what came of it, the error, and whether that is ours."""
        code, error, ours = came
        seconds = time.perf_counter() - began
        self.counted.answered(outputs)
        self.statistics.answered(request.protocol, code, timing, seconds, rows)
        spans.ended(self.spec, request.protocol, code, timing, seconds)
        if self._log.wants(ours):
            self._log.write(
                request=request.id,
                protocol=request.protocol,
                code=code,
                error=error,
                milliseconds=seconds * 1e3,
                inputs=request.inputs,
                outputs=outputs,
                parameters=request.parameters,
            )

    async def _warm_up(self) -> None:
        settings = self.spec.warm_up
        sizes = {1, self.rows_at_once or 1}
        times = max(settings.requests, 1 if self.model.outputs is None else 0)
        for rows in sorted(sizes) * times:
            zeros = {each.name: zeros_of(each, rows) for each in self.model.inputs if each.required}
            try:
                outputs = await self._compute(zeros, {})
            except ServingError as error:
                if self.model.outputs is None and not hasattr(self, "_answers"):
                    raise NotServableHere(
                        f"the model's signature has no outputs, and it can't be asked for them: {error.message}; {SIGN}"
                    ) from None
                if settings.required:
                    raise NotServableHere(f"warm_up: {error.message}") from None
                return
            if self.model.outputs is None and not hasattr(self, "_answers"):
                self._know_outputs(seen(outputs))

    def _note(self, timing: Timing, computed: Computed) -> None:
        timing.wait, timing.infer = computed.waited, computed.computed
        timing.batch, timing.rows, timing.requests = computed.batch, computed.rows, computed.requests
        timing.cpu = computed.cpu / computed.requests
        timing.memory = self._resident.bytes() // computed.requests
        if self._on_gpu:
            timing.gpu = computed.computed / computed.requests

    def told(self, error: ServingError) -> str:
        """What the router may write down of an error: redacted as the request log is, without line ends."""
        schema = (*self.inputs.tensors, *self.outputs.tensors) if hasattr(self, "outputs") else self.inputs.tensors
        text = self._log.redacted(error.message, [each.name for each in schema])
        return quote(text[:MOST_TOLD], safe=" :;,.'()[]/=+*@_-")

    def timing_headers(self, timing: Timing) -> dict[str, str]:
        """What an answer tells of its time; nothing where the deployment does not want it."""
        return {"server-timing": timing.header()} if self.spec.monitoring.timing else {}

    def _stuck(self, reason: str) -> None:
        self.problem = reason
        self._failed(reason)


def _timed(model: LoadedModel, inputs: Tensors, parameters: Mapping[str, Any]) -> tuple[Tensors, float]:
    """What a model computes, and the seconds that it takes, without the way to its thread and back."""
    began = time.perf_counter()
    return model.predict(inputs, parameters), time.perf_counter() - began


def _failure(error: Exception) -> ServingError:
    """What a request is told of what its model raised."""
    return ServingError(Fault.MODEL_FAILED, f"the model failed: {type(error).__name__}: {str(error)[:500]}")
