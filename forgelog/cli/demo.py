"""`forgelog demo`: the platform at work on real input, with its promises checked. The story is in forgelog.demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from forgelog.cli.common import run


def demo(
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="DIR",
            help="Folder of the demo's own platform [default: demo in the platform's data folder].",
            show_default=False,
        ),
    ] = None,
    kill: Annotated[
        str, typer.Option("--kill", metavar="PROCESS", help="What to kill with -9 midway: as `status` names it.")
    ] = "jobs",
    keep: Annotated[bool, typer.Option("--keep", help="Leave the platform running at the end.")] = False,
) -> None:
    """Train models on a two-node cluster, kill a service on the way, and prove that nothing was lost."""

    async def work() -> None:
        from importlib.util import find_spec

        from events.process.folders import data_folder
        from forgelog.cli.up_progress import UpProgress
        from forgelog.demo.story import perform
        from forgelog.errors import InvalidInput

        if find_spec("sklearn") is None:
            raise InvalidInput(
                "demo: it needs scikit-learn, which is not installed; pip install 'forgelog[demo]' (or scikit-learn)"
            )
        with UpProgress() as progress:
            await perform(data or data_folder() / "demo", kill, keep=keep, progress=progress)

    run(work)


COMMANDS = {"demo": demo}
