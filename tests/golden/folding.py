"""A recorded history as the present code folds it: states, rows, chains. No I/O.

What is here is all that the tests of recorded histories know of the runtime; when its interfaces change, this follows.
"""

from __future__ import annotations

import base64
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import import_module
from itertools import islice
from typing import Any

import httpx
import orjson

from events.audit.chain_check import ChainCheck, Verified
from events.audit.heads import Head, HeadStore, head_of, is_signed
from events.language.common import LogEvent
from events.language.contexts import contexts
from events.language.registry import lookup, upcast
from events.log import topics
from events.log.partitioner import partition_of
from events.log.positions import EpochRule, ReaderPosition
from events.log.repairs import Repairs
from events.log.wire import Raw
from events.projections.folding import history_row
from events.projections.projection import Row, Table
from events.projections.rebuild import projection_of
from events.projections.tables import FORMAT, HISTORY
from events.writer import snapshots
from events.writer.deciders import Deciders
from events.writer.partition import Partition
from events.writer.snapshots import Snapshots
from tests.golden.history import History
from tests.rows import HeldRows


@cache
def deciders_of(context: str) -> Deciders:
    """Those of its service."""
    made = import_module(f"{contexts()[context].package}.service").SERVICE.deciders()
    return made if isinstance(made, Deciders) else Deciders(made)


# Records


def repairs_of(history: History) -> Repairs:
    """What operators had passed over."""
    repairs = Repairs()
    repairs.add(history.of(topics.REPAIRS))
    return repairs


def valid(history: History, context: str, *, markers: bool = True) -> list[Raw]:
    """A context's events as its readers see them, by partition and offset: without void and skipped ones."""
    repairs = repairs_of(history)
    rules: dict[int, EpochRule] = defaultdict(lambda: EpochRule(begun=0))
    found: list[Raw] = []
    for raw in history.of(topics.events(context)):
        if repairs.pass_over(raw):
            rules[raw.partition].missed(raw.last)
        elif rules[raw.partition].admits(raw) and (markers or not raw.is_marker):
            found.append(raw)
    return found


def chains(history: History) -> dict[str, Verified]:
    """Every place of events → what the check of its hash chain and its signed heads found."""
    key = bytes.fromhex(history.about["head_key"])
    found: dict[str, Verified] = {}
    with HeadStore() as store:
        for raw in history.of(topics.HEADS):
            head = head_of(raw.value or b"")
            assert head is not None, f"{raw.position} is no head any more"
            assert is_signed(head, key), f"{raw.position} is no signed head any more"
            store.add(head["place"], Head(head["offset"], head["digest"]))
        for context in history.about["contexts"]:
            for number in range(history.about["partitions"]):
                place = f"{topics.events(context)}/{number}"
                check = ChainCheck(place, store.of(place), repairs_of(history))
                records = [raw for raw in history.of(topics.events(context)) if raw.partition == number]
                for raw in records:
                    check.feed(raw)
                found[place] = check.finish(len(records))
    return found


def told(verified: Verified) -> dict[str, Any]:
    """What a recording keeps of a check."""
    return {"records": verified.records, "void": verified.void, "heads": verified.heads, "digest": verified.digest}


# States


def states(history: History) -> dict[str, Any]:
    """What each partition's writer knows at the end, by kind (``jobs/0/states``) and key."""
    found: dict[str, Any] = {}
    for context in history.about["contexts"]:
        for number, partition in folded(history, context).items():
            found |= known_to(partition, f"{context}/{number}")
    return found


def known_to(partition: Partition, place: str) -> dict[str, Any]:
    """What a snapshot of the partition has, by kind (``jobs/0/states`` for the place ``jobs/0``) and key.

    A context of several kinds of aggregate has ``library/0/states/shelf`` and the like.
    """
    content, packs = snapshots.take(partition)
    aggregates: dict[str, Any] = {}
    left = iter(packs)
    for name, kind in content["kinds"].items():
        suffix = f"/{name}" if len(content["kinds"]) > 1 else ""
        aggregates[f"states{suffix}"] = states = dict(kind["states"])
        aggregates[f"provenance{suffix}"] = provenance = {
            key: _by_subject(each) for key, each in kind["provenance"].items()
        }
        for keys, entries in islice(left, kind["packs"]):
            names, dumps = orjson.loads(zlib.decompress(keys)), orjson.loads(zlib.decompress(entries))
            for key, (provenances, dump) in zip(names, dumps, strict=True):
                if key not in kind["states"]:  # else it is at work again; a later pack is the newer one
                    states[key], provenance[key] = dump, _by_subject(provenances)
    chain = {name: content[name] for name in ("digest", "time", "next_offset", "epoch", "repairs")}
    commands = {name.replace("\n", "/"): [digest, offset] for name, digest, offset, _ in content["commands"]}
    kinds = {
        **aggregates,
        "commands": commands,
        "inputs": _positions(content["inputs"]),
        "observed": _positions(content["observed"]),
        "chain": {"end": chain},
    }
    return {f"{place}/{kind}": plain(items) for kind, items in kinds.items()}


def _by_subject(provenances: list[Any]) -> dict[str, Any]:
    own, *others = provenances
    return {"own": own, **{f"{kind} {id}": known for kind, id, *known in others}}


def folded(history: History, context: str, given: dict[int, Partition] | None = None) -> dict[int, Partition]:
    """A context's partitions with all of the history folded in; those that are `given` go on from where they are.

    Own events first, foreign ones by time behind them: see `events.writer.observing`.
    """
    deciders = deciders_of(context)
    count: int = history.about["partitions"]
    partitions = {number: Partition(deciders, number, count) for number in range(count)} | (given or {})
    foreign = deciders.foreign - {context} if partitions[0].has_view else set()
    records = [(raw.timestamp, False, raw) for raw in valid(history, context)]
    records += [(raw.timestamp, True, raw) for each in sorted(foreign) for raw in valid(history, each)]
    for _, of_others, raw in sorted(records, key=lambda item: item[:2]):
        if of_others:
            _observe(partitions, raw)
        elif raw.offset >= partitions[raw.partition].next_offset:
            partitions[raw.partition].fold(raw)
            if raw.is_marker:
                partitions[raw.partition].epoch = raw.offset
    for partition in partitions.values():
        partition.repairs = repairs_of(history).until
    return partitions


def _observe(partitions: dict[int, Partition], raw: Raw) -> None:
    if raw.is_marker:
        return
    recorded = raw.decode()
    concerned = partitions[0].deciders.concerned(recorded.data)  # type: ignore[arg-type]
    for number, partition in partitions.items():
        own = [each for each in concerned if partition_of(each.key, partition.count) == number]
        if own and partition.wants(raw.topic, raw.partition, raw.offset)[1]:
            partition.event(recorded, own, recorded.meta.time, handle=False)
        partition.passed(raw.topic, raw.partition, ReaderPosition.behind(raw))


def stored_snapshots(history: History) -> Iterator[tuple[str, dict[str, Any]]]:
    """Snapshots that the recording's writers had stored and that writers of now would begin with: the place of each,
    and what it gives with the rest of the history folded in."""
    count: int = history.about["partitions"]
    for stored in history.snapshots:
        context, number = stored["context"], stored["partition"]
        deciders = deciders_of(context)
        if stored["version"] == Snapshots._version(deciders):
            loaded = snapshots.load(deciders, number, count, base64.b64decode(stored["data"]))
            partition = folded(history, context, {number: loaded})[number]
            yield f"{context}/{number}@{stored['next_offset']}", known_to(partition, f"{context}/{number}")


def in_records(known: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    """What a stored snapshot knows and records show: not how far its writer had read on without writing anything, and
    no place where it had met nothing but a marker."""
    shown = {kind: items for kind, items in known.items() if not kind.endswith("/inputs")}
    for kind in shown:
        if kind.endswith("/observed"):
            shown[kind] = {place: at for place, at in shown[kind].items() if place in whole[kind]}
    return shown


def _positions(items: list[Any]) -> dict[str, Any]:
    return {f"{topic}/{number}": {"offset": offset, "epoch": epoch} for topic, number, offset, epoch in items}


# Rows


def rows(history: History) -> dict[str, Any]:
    """The rows of every table, by table (``jobs/tasks``) and key; of `history` those of the context's own events."""
    found: dict[str, Any] = {}
    for context in history.about["contexts"]:
        projection = projection_of(context)
        held = HeldRows(projection)
        inputs = projection.contexts
        ranked = [(rank, raw) for rank, each in enumerate(inputs) for raw in valid(history, each, markers=False)]
        told: list[Row] = []
        for rank, raw in sorted(ranked, key=lambda item: (item[1].time(), item[0])):
            recorded = raw.decode()
            if inputs[rank] == context:
                told.append(dict(zip(HISTORY.columns, history_row(recorded, raw.value or b""), strict=True)))
            if not isinstance(recorded.data, LogEvent):
                projection.project(recorded, held)
        for table in projection.tables:
            found[f"{context}/{table.name}"] = keyed(table, held.tables[table.name].values())
        found[f"{context}/{HISTORY.name}"] = keyed(HISTORY, told)
    return found


def undecodable(history: History) -> list[str]:
    """Positions of commands whose bodies do not decode, with any repair of them."""
    found = []
    for context in history.about["contexts"]:
        for raw in history.of(topics.commands(context)):
            try:
                name, value = upcast(raw.type, raw.value or b"")
                model = lookup(name)
                if model is None:
                    raise ValueError(name)
                model.model_validate_json(value)
            except ValueError:
                found.append(str(raw.position))
    return found


def answer(response: httpx.Response) -> dict[str, Any]:
    """What a recording keeps of an answer by HTTP."""
    is_json = response.headers.get("content-type", "").startswith("application/json")
    return {"status": response.status_code, "body": response.json() if is_json else response.text}


def keyed(table: Table, found: Iterable[Row]) -> dict[str, Any]:
    """A table's rows by their keys, as plain data."""
    rows = [{name: row[name] for name in table.columns if name in row} for row in found]
    return {" ".join(str(row[name]) for name in table.key): plain(row) for row in rows}


def plain(data: Any) -> Any:
    """Data as JSON has it."""
    return orjson.loads(orjson.dumps(data, default=_plain_value, option=orjson.OPT_NON_STR_KEYS))


def _plain_value(value: Any) -> Any:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def versions() -> dict[str, dict[str, Any]]:
    """Kind of what is stored → context → the version that present code stores it in."""
    return {
        "states": {context: Snapshots._version(deciders_of(context)) for context in contexts()},
        "rows": {context: f"{FORMAT}.{projection_of(context).version}" for context in contexts()},
    }


def columns() -> dict[str, dict[str, str]]:
    """Table (``jobs/tasks``) → its columns and their types."""
    tables = [(context, table) for context in contexts() for table in (*projection_of(context).tables, HISTORY)]
    return {f"{context}/{table.name}": dict(table.columns) for context, table in tables}
