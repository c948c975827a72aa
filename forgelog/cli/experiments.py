"""`experiments`: the questions that runs are to answer."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgelog.cli import complete, results
from forgelog.cli.common import AtOption, ForceOption, LimitOption, OutputOption, guarded, moment, with_client
from forgelog.cli.nodes import pairs
from forgelog.cli.progress import Progress
from forgelog.cli.purges import purge_app
from forgelog.cli.render import Format, age_column, column, note, show_data, show_done, show_fields, show_rows, write
from forgelog.cli.selecting import experiment_id, experiment_named

if TYPE_CHECKING:
    from forgelog.client.aio import AsyncClient
    from forgelog.client.plain import Answer

app = typer.Typer(no_args_is_help=True, help="Show experiments; create, change, pause, finish or delete one.")

STATUSES = ("draft", "running", "paused", "completed", "failed", "archived")
VISIBILITIES = ("private", "project", "public")
FRAMEWORKS = ("pytorch", "tensorflow", "jax", "huggingface", "custom")

NameOrIdArgument = Annotated[str, typer.Argument(metavar="EXPERIMENT", help="Its name or its id.")]
TagOption = Annotated[list[str] | None, typer.Option("--tag", help="key=value (repeatable).")]
LabelOption = Annotated[list[str] | None, typer.Option("--label", "-l", help="A label (repeatable).")]
FrameworkOption = Annotated[
    str, typer.Option("--framework", help=f"{', '.join(FRAMEWORKS)}.", autocompletion=complete.words(FRAMEWORKS))
]
DescriptionOption = Annotated[str | None, typer.Option("--description", help="What it is to answer.")]
TeamOption = Annotated[str | None, typer.Option("--team", help="Whose it is.")]
SearchOption = Annotated[
    list[str] | None,
    typer.Option("--search", help="What its tunings search: 'lr=1e-5..0.1 log', 'optimizer=adam,sgd' (repeatable)."),
]
JobOption = Annotated[
    Path | None, typer.Option("--job", help="A manifest of the job that its launched runs run.", dir_okay=False)
]
ParallelOption = Annotated[
    int | None, typer.Option("--parallel", min=0, help="How many launched runs at a time; 0: any number.")
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; shown beside the status.")]


def columns(now: datetime) -> list[Any]:
    return [
        column("Id", "experiment_id"),
        column("Name", least=8),
        column("Status", style=True),
        column("Owner", rank=3),
        column("Framework", rank=4),
        column("Project", rank=5),
        age_column("Made", "created_at", now, rank=2),
    ]


@app.command("list")
def show_list(
    status: Annotated[
        list[str] | None,
        typer.Option("--status", help=f"{', '.join(STATUSES)}.", autocompletion=complete.words(STATUSES)),
    ] = None,
    name: Annotated[str, typer.Option("--name", help="A part of the name.")] = "",
    owner: Annotated[str, typer.Option("--owner", help="Only this user's.")] = "",
    visible_to: Annotated[str, typer.Option("--visible-to", help="Only those that this user finds.")] = "",
    team: Annotated[str, typer.Option("--team", help="Only this team's.")] = "",
    label: LabelOption = None,
    tag: TagOption = None,
    deleted: Annotated[bool, typer.Option("--deleted", help="Those that are deleted.")] = False,
    limit: LimitOption = 50,
    at: AtOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """List experiments, newest first."""
    moved = moment(at)
    filters: dict[str, Any] = {"status": status or (), "name": name, "owner": owner, "team": team}
    filters["visible_to"] = visible_to
    rows = with_client(
        lambda client: client.experiments.list(
            labels=label or (), tags=pairs(tag, "--tag"), deleted=deleted, limit=limit, at=moved, **filters
        )
    )
    show_rows(rows, columns(moved or datetime.now(UTC)), output, empty="there are no such experiments")


@app.command("show")
def show(id: NameOrIdArgument, at: AtOption = None, output: OutputOption = Format.TABLE) -> None:
    """Show an experiment, and how many runs it has."""
    moved = moment(at)
    found = with_client(lambda client: experiment_named(client, id, moved))
    if output is not Format.TABLE:
        show_data(found, output)
        return
    fields = dict(found)
    fields.pop("search_space", None)
    if found.search_space.dimensions:
        from forgelog.tuning_space import dimension_text

        fields["search_space"] = [dimension_text(each) for each in found.search_space.dimensions]
    show_fields(fields, title=id)


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name, its project's once.")],
    description: DescriptionOption = None,
    team: TeamOption = None,
    framework: FrameworkOption = "",
    type: Annotated[str | None, typer.Option("--type", help="Such as classification.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="What its runs begin with.")] = None,
    visibility: Annotated[
        str | None,
        typer.Option("--visibility", help=f"{', '.join(VISIBILITIES)}.", autocompletion=complete.words(VISIBILITIES)),
    ] = None,
    collaborator: Annotated[
        list[str] | None, typer.Option("--collaborator", help="Who finds it though it is private (repeatable).")
    ] = None,
    input: Annotated[
        list[str] | None, typer.Option("--input", help="A dataset that its runs read: mnist/2 (repeatable).")
    ] = None,
    base: Annotated[str, typer.Option("--base", help="The version of a model that its runs go on from.")] = "",
    search: SearchOption = None,
    job: JobOption = None,
    parallel: ParallelOption = None,
    label: LabelOption = None,
    tag: TagOption = None,
) -> None:
    """Make an experiment, and print its id."""
    fields = {
        "description": description,
        "team": team,
        "framework": framework or None,
        "experiment_type": type,
        "random_seed": seed,
        "visibility": visibility,
        "collaborators": collaborator,
        "search_space": _space(search) if search else None,
        "job": job,
        "parallel": parallel,
    }
    given: dict[str, Any] = {key: value for key, value in fields.items() if value is not None}

    async def work(client: AsyncClient) -> str:
        sources: dict[str, Any] = {}
        if input:
            found = [await client.datasets.get(each) for each in input]
            sources["inputs"] = [{"name": each.name, "digest": each.digest} for each in found]
        if base:
            sources["base_version_id"] = (await client.models.version(base)).version_id
        return await client.experiments.create(
            name, labels=label or [], tags=pairs(tag, "--tag"), sources=sources, **given
        )

    write(with_client(work) + "\n")


@app.command("init")
def init(
    template: Annotated[str, typer.Option("--template", help="A template; `forgelog templates list` shows them.")],
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Into this folder.", file_okay=False)] = Path(),
    name: Annotated[str, typer.Option("--name", help="The experiment's name [default: the folder's].")] = "",
    description: DescriptionOption = None,
    team: TeamOption = None,
    force: ForceOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Make an experiment of a template, with the files that it begins with."""
    fields = {"description": description, "team": team}
    given: dict[str, Any] = {key: value for key, value in fields.items() if value is not None}

    async def work(client: AsyncClient) -> Any:
        with Progress("init:", output, bytes=True) as bar:
            return await client.templates.begin(template, folder, name=name, force=force, progress=bar.at, **given)

    begun = with_client(work)
    if output is not Format.TABLE:
        show_data(begun._asdict(), output)
        return
    write(f"{begun.experiment_id}\n")
    made = "made" if begun.created else "there already"
    files = ", ".join(begun.files) or "no new file"
    note(f"the experiment is {made}, of template {begun.template.name}/{begun.template.version}; {folder} has {files}")


@app.command("update")
def update(
    experiment: NameOrIdArgument,
    name: Annotated[str | None, typer.Option("--name", help="Its new name.")] = None,
    description: DescriptionOption = None,
    team: TeamOption = None,
    framework: FrameworkOption = "",
    search: SearchOption = None,
    job: JobOption = None,
    parallel: ParallelOption = None,
    tag: TagOption = None,
    remove_tag: Annotated[list[str] | None, typer.Option("--remove-tag", help="A tag's key (repeatable).")] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Change an experiment; what is left out stays."""
    fields: dict[str, Any] = {"name": name, "description": description, "team": team, "framework": framework or None}
    fields |= {"job": job, "parallel": parallel}
    if search:
        fields["search_space"] = _space(search)
    given: dict[str, Any] = {key: value for key, value in fields.items() if value is not None}
    tags = {**pairs(tag, "--tag"), **dict.fromkeys(remove_tag or ())}

    async def work(client: AsyncClient) -> Answer:
        return await client.experiments.update(await experiment_id(client, experiment), tags=tags, **given)

    show_done(with_client(work), f"{experiment} is changed", output)


@app.command("launch")
def launch(
    experiment: NameOrIdArgument,
    name: Annotated[str, typer.Option("--name", help="The run's name.")] = "",
    param: Annotated[
        list[str] | None, typer.Option("--param", "-p", help="name=value, for the run and its job (repeatable).")
    ] = None,
    job: Annotated[
        Path | None, typer.Option("--job", help="A manifest of a job in place of the experiment's.", dir_okay=False)
    ] = None,
    tag: TagOption = None,
) -> None:
    """Begin a run whose job the platform submits, and print the run's id."""

    async def work(client: AsyncClient) -> str:
        id = await experiment_id(client, experiment)
        given: dict[str, Any] = {"name": name, "params": pairs(param, "--param"), "tags": pairs(tag, "--tag")}
        return await client.experiments.launch(experiment_id=id, job=job, **given)

    write(with_client(work) + "\n")


def _space(texts: list[str]) -> dict[str, Any]:
    from forgelog.tuning_space import dimension

    return {"dimensions": guarded(lambda: [dimension(each, "--search") for each in texts])}


def _status(word: str, text: str) -> Any:
    def command(experiment: NameOrIdArgument, reason: ReasonOption = "", output: OutputOption = Format.TABLE) -> None:
        async def work(client: AsyncClient) -> Answer:
            id = await experiment_id(client, experiment)
            return await client.experiments.set_status(id, word, reason=reason)

        show_done(with_client(work), f"experiment {experiment} is {word}", output)

    command.__doc__ = text
    return command


app.command("pause")(_status("paused", "Let it take no new runs for now; those that run go on."))
app.command("resume")(_status("running", "Let it take runs again."))
app.command("complete")(_status("completed", "Say that it has its result."))
app.command("fail")(_status("failed", "Give it up."))
app.command("archive")(_status("archived", "Keep it to be read; it changes no more."))


@app.command("delete")
def delete(experiment: NameOrIdArgument, output: OutputOption = Format.TABLE) -> None:
    """Take an experiment out of the lists. It keeps its name, and can be restored."""

    async def work(client: AsyncClient) -> Answer:
        return await client.experiments.delete(await experiment_id(client, experiment))

    show_done(with_client(work), f"experiment {experiment} is deleted", output)


@app.command("restore")
def restore(experiment: NameOrIdArgument, output: OutputOption = Format.TABLE) -> None:
    """Bring a deleted experiment back."""

    async def work(client: AsyncClient) -> Answer:
        return await client.experiments.restore(await experiment_id(client, experiment))

    show_done(with_client(work), f"experiment {experiment} is back", output)


app.command("results")(results.show_experiment)
app.add_typer(purge_app, name="purge")

COMMANDS = {"experiments": app}
