"""`predict`: asks a deployment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from forgelog.cli.common import OutputOption, run
from forgelog.cli.render import Column, Format, note, show_data, show_rows
from forgelog.cli.scaling import NameArgument
from forgelog.errors import InvalidInput

_MOST_OF_REQUEST = 1 << 30
"""Bytes of the inputs, as text. How much a deployment takes is its own matter."""
_MOST_CELL = 60
"""Characters of a value that a table shows."""


def predict(
    name: NameArgument,
    given: Annotated[
        list[str] | None, typer.Argument(metavar="[INPUT=JSON]...", help="Its inputs, such as 'x=[[1,2]]'.")
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", "-i", metavar="INPUT=JSON", help="The same, as an option (repeatable)."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", metavar="FILE", help="All inputs, as JSON or CSV; - for stdin.")
    ] = None,
    csv: Annotated[
        bool, typer.Option("--csv", help="The file is CSV with a header, as one called .csv is.", show_default=False)
    ] = False,
    parameters: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", help="name=JSON of the request's parameters (repeatable).")
    ] = None,
    outputs: Annotated[
        list[str] | None, typer.Option("--only", help="Ask for this output only (repeatable) [default: all].")
    ] = None,
    router: Annotated[
        str | None,
        typer.Option("--router", metavar="URL", help="The router to ask [or FORGELOG_ROUTER; the platform's]."),
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option("--key-file", metavar="FILE", help="The endpoint's key [or FORGELOG_ENDPOINT_KEY_FILE, ..._KEY]."),
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, max=86_400, help="Seconds.")] = 60.0,
    output: OutputOption = Format.TABLE,
) -> None:
    """Ask a deployment by the Open Inference Protocol, and show its outputs, a row each."""

    async def work() -> Any:
        from forgelog.client import predicting

        said = _given([*(given or ()), *(inputs or ())], file, csv, "INPUT" if given else "--input")
        asked = predicting.read_pairs(parameters or (), "--parameter")
        key = None if key_file is None else predicting.key_of_file(key_file, "--key-file")
        return await predicting.predict(
            name,
            said,
            project=os.environ.get("FORGELOG_PROJECT", "") or "local/default",
            outputs=outputs or (),
            parameters=asked,
            router=router,
            key=key,
            timeout=timeout,
        )

    found = run(work)
    if output is not Format.TABLE:
        show_data(found.answer, output)
        return
    from forgelog.client.inference import rows

    columns = [Column("Row", lambda row: str(row["row"]), right=True)]
    columns += [_column(each) for each in found.outputs]
    show_rows(rows(found.outputs), columns, output, empty="the answer has no outputs")
    by = f", revision {found.revision}" if found.revision else ""
    version = f"/{found.version}" if found.version else ""
    note(f"answered by {found.model}{version}{by}")


def _column(name: str) -> Column:
    def cell(row: Any) -> str:
        if name not in row:
            return ""
        value = row[name]
        text = f"{value:.6g}" if isinstance(value, float) else _json(value)
        return text if len(text) <= _MOST_CELL else f"{text[: _MOST_CELL - 3]}..."

    return Column(name, cell)


def _json(value: Any) -> str:
    import orjson

    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _given(inputs: list[str] | None, file: Path | None, as_csv: bool, place: str = "--input") -> Any:
    from forgelog.client import csv_inputs, predicting
    from forgelog.user_files import read_at_most

    if (file is None) == (not inputs):
        raise InvalidInput("give the inputs: either each as NAME=JSON, or --file FILE (- for stdin)")
    if file is None:
        if as_csv:
            raise InvalidInput("--csv is of a file; name it by --file (- for stdin)")
        return predicting.read_pairs(inputs or (), place)
    try:
        text = read_at_most(file, _MOST_OF_REQUEST, "a request")
    except InvalidInput as error:
        raise InvalidInput(f"--file: {error}") from None
    where = "stdin" if str(file) == "-" else str(file)
    if as_csv or file.suffix.lower() == ".csv":
        return csv_inputs.read_table(text, where)
    return predicting.read_inputs(text, where)


COMMANDS = {"predict": predict}
