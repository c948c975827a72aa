"""Every shell block of README, tutorial and how-tos is run, in the order of the page, and what it shows is what came.

The pages share a platform that `forgelog up` started. How a block says what it needs: `tests.integration.documents`.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from forgelog.embedded.platform import Platform
from tests import PATIENCE, access
from tests.conftest import Servers, own_settings
from tests.integration.documents import Shell, blocks_of, prepare, reason_to_skip

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
HOW_TOS = sorted((ROOT / "docs/how-to").glob("*.md"), key=lambda path: (path.name == "nodes.md", path.name))
"""The page about nodes comes last: it changes those that jobs of other pages need."""
DOCUMENTS = [ROOT / "README.md", ROOT / "docs/tutorial.md", *HOW_TOS]


@dataclass(frozen=True, slots=True)
class Reader:
    """Where the pages are read: a folder, its environment, and what they can't know: addresses, topics."""

    folder: Path
    environment: dict[str, str]
    replaced: dict[str, str]


@pytest_asyncio.fixture(scope="module")
async def reader(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Reader]:
    folder: Path = tmp_path_factory.mktemp("reader")
    prepare(folder, ROOT)
    async with own_settings(servers, folder) as settings:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("FORGELOG_")}
        environment = {
            **clean,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            **access.environment(settings),
            "FORGELOG_PREFIX": settings.prefix,
            "FORGELOG_SCHEMA": settings.schema_,
            "FORGELOG_DATA": str(folder / ".forgelog"),
        }
        try:
            up = await asyncio.to_thread(
                subprocess.run,
                ["forgelog", "up"],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
            )
            assert up.returncode == 0, up.stderr
            report = Platform(folder / ".forgelog").report()
            yield Reader(
                folder,
                environment,
                {
                    "127.0.0.1:7070": report["gateway"],
                    "127.0.0.1:9092": settings.kafka_required,
                    "~/.forgelog/kcat.conf": str(access.kcat_conf(settings, folder)),
                    "-t commands.jobs": f"-t {settings.prefix}commands.jobs",
                },
            )
        finally:
            await Platform(folder / ".forgelog").down()


@pytest.mark.parametrize("path", DOCUMENTS, ids=[str(path.relative_to(ROOT)) for path in DOCUMENTS])
def test_what_a_page_shows_is_what_comes(reader: Reader, path: Path) -> None:
    shell = Shell(reader.folder, reader.environment, dict(reader.replaced))
    problems: list[str] = []
    try:
        for block in blocks_of(path.read_text()):
            if not reason_to_skip(block):
                problems += [f"{path.name}:{block.line}: {problem}" for problem in shell.block(block)]
    finally:
        shell.close()
    assert not problems, "\n\n".join(problems)


def test_a_block_that_is_not_run_says_why() -> None:
    skipped = [block for path in DOCUMENTS for block in blocks_of(path.read_text()) if block.said("skip")]
    assert all(len(block.said("skip")[0]) > 10 for block in skipped)
