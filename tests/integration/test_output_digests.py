"""What tasks printed is held against the digests that their node made of it; what was changed since is found."""

from __future__ import annotations

from pathlib import Path

import asyncpg
from blake3 import blake3

from forgelog import AsyncClient
from services.jobs.output.stream import OutputStream
from tests.integration.calm import Calm

PRINTS = ["-c", "seq 100000; echo of $FORGELOG_TASK >&2"]


async def test_output_is_verified_and_a_difference_is_found(calm: Calm, tmp_path: Path) -> None:
    platform = await calm.platform()
    printed = b"".join(b"%d\n" % number for number in range(1, 100_001))
    async with AsyncClient(platform.gateway, token=platform.key) as client:
        job = await client.jobs.submit(name="prints", command="sh", args=PRINTS, array=2)
        await job.wait()
        found = await client.output.verify(job.id)
        assert {each.result for each in found} == {"intact"}
        sizes = {(each.task, each.stream): (each.bytes, each.digest) for each in found}
        assert sizes[1, "stdout"] == (len(printed), blake3(printed).hexdigest())
        assert sizes[1, "stderr"] == (5, blake3(b"of 1\n").hexdigest())

        db = await asyncpg.connect(platform.settings.postgres_required)
        try:
            chunks = f'"{platform.settings.schema_}_{OutputStream.schema}".chunks'
            change = f"update {chunks} set data = 'OF 1\n' where job_id = $1 and task = 1 and stream = 1 and data > ''"
            assert await db.execute(change, job.id) == "UPDATE 1"
        finally:
            await db.close()
        assert [each.result for each in await client.output.verify(job.id, tasks="1")] == ["intact", "differs"]
    intact = await platform.command(tmp_path, "logs", f"{job.id}/0", "--verify")
    assert (intact.returncode, intact.stdout.count("intact"), intact.stderr) == (0, 2, "")
    differs = await platform.command(tmp_path, "logs", job.id, "--verify")
    assert (differs.returncode, differs.stdout.count("intact"), differs.stdout.count("differs")) == (1, 3, 1)
    assert f"task 1, attempt 1: 5 bytes were printed on stderr, digest {found[3].digest[:12]}; 5 are" in differs.stderr
    both = await platform.command(tmp_path, "logs", job.id, "--verify", "--follow")
    assert (both.returncode, "leave out --follow" in both.stderr) == (2, True)
