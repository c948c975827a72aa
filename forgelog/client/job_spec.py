"""One job as a command holds it: what runs each trial of a tuning, or each run of an experiment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forgelog.client.bundles import uploaded
from forgelog.client.core import Core
from forgelog.errors import InvalidInput


async def spec_of(core: Core, job: Mapping[str, Any] | str | Path, kind: str, each: str) -> Any:
    """A job, as `jobs.submit` takes it, as a command has it; its folder is uploaded, if it says so. `kind`, `each`: of
    what it runs, for the refusal of an id. Raises `ManifestError`, `InvalidInput`, `Unavailable`."""
    from forgelog.client.specs import in_callers_folder, jobs_of, one_of

    (found,) = await uploaded(core, [one_of(in_callers_folder(jobs_of(job, {})), job)])
    if found.dependencies or found.job_id:
        raise InvalidInput(f"a {kind}'s job has no id and no dependencies: there is one job for each {each}")
    return json.loads(found.base.to_json())
