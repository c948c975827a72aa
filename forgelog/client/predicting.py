"""Asks a deployment through a router, over HTTP. Needs no gateway: it works while the platform is down.

A router is found by `forgelog.where.find_router`. The key of an endpoint is that which is given, else that of
``FORGELOG_ENDPOINT_KEY``, else of the file that ``FORGELOG_ENDPOINT_KEY_FILE`` names.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn
from urllib.parse import urlsplit

from events.process.keys import KeyFileProblem, read_key
from forgelog.client import inference
from forgelog.client.csv_inputs import CsvTable, inputs_of
from forgelog.client.deployment_ids import deployment_id
from forgelog.client.router_tls import trust, why
from forgelog.errors import Busy, InvalidInput, NotFound, Refused, Timeout, Unavailable
from forgelog.units import quoted
from forgelog.where import Router, find_router

if TYPE_CHECKING:
    import httpx

KEY = "FORGELOG_ENDPOINT_KEY"
KEY_FILE = "FORGELOG_ENDPOINT_KEY_FILE"

PREDICT_SECONDS = 60.0
"""Longest wait for an answer, if no other is asked for."""

ROUTED_SECONDS = 30.0
"""Longest wait until a router has a new deployment, if no other is asked for. The first one starts the router."""
_ROUTED_PAUSE, _ROUTED_QUIET = 0.1, 5.0
"""Seconds between two questions, and until it is told what is waited for."""
_ROUTED_ANSWER = 10.0
"""Longest wait for one answer of the router, in seconds."""

_MOST_WORDS = 500
"""Characters of an error's text that are repeated."""

_NEEDS_KEY = (
    f"name a key's file by --key-file or {KEY_FILE}, or put the key into {KEY}; `forgelog keys issue` makes one"
)


class Prediction(NamedTuple):
    """What a deployment answered."""

    outputs: dict[str, Any]
    """Output → its values, as lists of lists."""
    model: str
    version: str
    revision: int
    """Of the deployment; 0 if the router did not say."""
    answer: dict[str, Any]
    """As it came: by the Open Inference Protocol v2."""
    request: str = ""
    """The request's id, by which `deployments.requests` and `lineage` know it; empty if the router did not say."""


async def predict(
    name: str,
    inputs: Any,
    *,
    project: str,
    outputs: Sequence[str] = (),
    parameters: Mapping[str, Any] | None = None,
    router: str | None = None,
    key: str | None = None,
    timeout: float = PREDICT_SECONDS,
) -> Prediction:
    """See `AsyncDeployments.predict`."""
    import httpx

    asked, key = find_router(router), find_key(key)
    url = asked.url
    path = f"/v2/models/{deployment_id(name, project)}"
    if not inference.complete(inputs) and not isinstance(inputs, Mapping | CsvTable):
        raise InvalidInput("inputs: is no map; give values by the inputs' names, or a request of the protocol")
    local = asked.own or urlsplit(url).hostname in ("127.0.0.1", "::1", "localhost")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        async with httpx.AsyncClient(
            base_url=url, headers=headers, timeout=timeout, trust_env=not local, verify=trust(asked)
        ) as http:
            answer = await _answer(http, path, name, inputs, outputs, parameters, timeout)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unavailable(f"the router at {url} can't be asked: {why(error, asked)}") from None
    revision, request = answer.pop(_REVISION, 0), answer.pop(_REQUEST, "")
    try:
        found = inference.values(answer)
    except ValueError as error:
        raise Unavailable(f"{name}: {error}") from None
    model, version = str(answer.get("model_name", "")), str(answer.get("model_version", ""))
    return Prediction(found, model, version, revision, answer, request)


async def _answer(
    http: httpx.AsyncClient,
    path: str,
    name: str,
    inputs: Any,
    outputs: Sequence[str],
    parameters: Mapping[str, Any] | None,
    timeout: float,
) -> dict[str, Any]:
    import orjson

    if inference.complete(inputs):
        body = dict(inputs)
    else:
        described = await _described(http, path, name, timeout, needed=isinstance(inputs, CsvTable))
        if isinstance(inputs, CsvTable):
            inputs = inputs_of(inputs, described)
        body = inference.request(inputs, described, outputs=outputs, parameters=parameters)
    try:
        content = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as error:
        raise InvalidInput(f"inputs: can't be written as JSON: {error}") from None
    return await _ask(http, "POST", f"{path}/infer", name, timeout, content)


async def routed(
    id: str,
    *,
    answers: bool,
    router: str | None = None,
    timeout: float = ROUTED_SECONDS,
    told: Callable[[str], object] | None = None,
    quiet: float = _ROUTED_QUIET,
) -> str:
    """Wait until a router has the table of a deployment; why it has not, empty if it has. `told` is given what is
    waited for after `quiet` seconds, and whenever that changes.

    `answers`: whether a replica is ready. Without one the router is only asked whether it is there: a request would
    wait for a replica, and let one start.
    """
    import httpx

    path, problem, said = f"/v2/models/{id}/ready" if answers else "/v2/health/live", "", ""
    quiet_until = time.monotonic() + quiet
    limit = min(timeout, _ROUTED_ANSWER)
    try:
        async with asyncio.timeout(timeout), AsyncExitStack() as stack:
            asked: Router | None = None
            while True:
                try:
                    found = find_router(router)
                    if found != asked:
                        client = httpx.AsyncClient(trust_env=False, timeout=limit, verify=trust(found))
                        asked, http = found, await stack.enter_async_context(client)
                    answer = await http.get(found.url + path)
                    if answer.status_code != 404 or _REVISION in answer.headers:
                        return ""
                    problem = "the router does not know it yet"
                except Unavailable as error:
                    problem = str(error)
                except httpx.HTTPError as error:
                    problem = why(error, found)
                if told is not None and problem != said and time.monotonic() >= quiet_until:
                    said = problem
                    told(problem)
                await asyncio.sleep(_ROUTED_PAUSE)
    except TimeoutError:
        return f"no router has it after {timeout:g} seconds: {problem}"


def find_key(given: str | None = None) -> str:
    """The key that opens endpoints; empty when none is named. Raises `InvalidInput`, which does not repeat it."""
    for where, text in (("key", given), (KEY, os.environ.get(KEY))):
        if text:
            text = text.strip()
            if not text or not text.isascii() or not text.isprintable() or " " in text:
                raise InvalidInput(f"{where}: is no key; give the token that `forgelog keys issue` printed")
            return text
    if file := os.environ.get(KEY_FILE):
        return key_of_file(Path(file), KEY_FILE)
    return ""


def key_of_file(path: Path, where: str) -> str:
    """The key in a file that only this user can read. Raises `InvalidInput`."""
    try:
        return read_key(path.expanduser())
    except KeyFileProblem as problem:
        raise InvalidInput(f"{where}: {problem}") from None


_REVISION = "x-forgelog-revision"
_REQUEST = "x-request-id"


async def _described(http: httpx.AsyncClient, path: str, name: str, timeout: float, *, needed: bool) -> Any:
    """The inputs as the model describes them; none of a program that answers requests and describes nothing, unless
    they are `needed`."""
    try:
        return (await _ask(http, "GET", path, name, timeout)).get("inputs", ())
    except NotFound:
        if needed:
            raise
        return ()


async def _ask(
    http: httpx.AsyncClient, method: str, path: str, name: str, timeout: float, content: bytes | None = None
) -> dict[str, Any]:
    """The JSON that comes, with the router's word on the revision. Raises ForgelogError, httpx.HTTPError."""
    import httpx

    headers = {"content-type": "application/json"} if content is not None else {}
    try:
        answer = await http.request(method, path, content=content, headers=headers)
    except httpx.TimeoutException:
        raise Timeout(f"{name}: no answer from the router at {http.base_url} within {timeout:g} s") from None
    if answer.status_code != 200:
        fail(name, answer.status_code, _words(answer), answer.headers.get("retry-after", ""))
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Unavailable(f"{name}: the answer is no JSON object; is there a router at {http.base_url}?")
    revision = answer.headers.get(_REVISION, "")
    number = int(revision) if revision.isdecimal() else 0
    return {**found, _REVISION: number, _REQUEST: answer.headers.get(_REQUEST, "")}


def _words(answer: httpx.Response) -> str:
    """What an error's body says."""
    try:
        said = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        said = answer.text
    words = " ".join(str(said).split())
    return words if len(words) <= _MOST_WORDS else f"{words[:_MOST_WORDS]}..."


def fail(name: str, status: int, words: str, retry_after: str) -> NoReturn:
    """Raise what an answer's status means."""
    seconds = float(retry_after) if retry_after.isdecimal() else 0.0
    again = f" (in {seconds:g} s)" if seconds and not (seconds == 1 and "come again in a second" in words) else ""
    said = f"{name}: {words or f'the answer is an error {status} without words'}"
    match status:
        case 401:
            raise Refused("unauthenticated", f"{said}; {_NEEDS_KEY}")
        case 403:
            raise Refused("permission_denied", said)
        case 404:
            raise NotFound(f"{said}; forgelog deployments show {name} says how it stands")
        case 429:
            raise Busy(f"{said}{again}", seconds)
        case 503 | 502:
            raise Unavailable(f"{said}{again}", seconds)
        case 504:
            raise Timeout(said)
        case 501:
            raise Refused("unimplemented", said)
        case _ if 400 <= status < 500:
            raise Refused("invalid_argument", said)
    raise Refused("internal", f"{said} (status {status})")


def read_inputs(text: bytes, where: str) -> Any:
    """Inputs in a file: a request of the protocol, or a map from names to values. Raises `InvalidInput`."""
    import orjson

    from events.log.repeats import repeated_key

    try:
        found = orjson.loads(text)
        if (twice := repeated_key(text)) is not None:
            raise InvalidInput(f"{where}: key {quoted(twice)} is given twice in one object; give it once")
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"{where}: is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise InvalidInput(f'{where}: is no JSON object; write for example {{"x": [[1, 2]]}}')
    if "inputs" in found and not inference.complete(found):
        raise InvalidInput(
            f"{where}: has inputs, and not each of them has name, shape, datatype and data; write those, or just "
            '{"x": [[1, 2]]}'
        )
    return found


def read_pairs(texts: Iterable[str], option: str) -> dict[str, Any]:
    """All of an option that is given once for each name. Raises `InvalidInput`."""
    found: dict[str, Any] = {}
    for text in texts:
        name, value = read_input(text, option)
        if name in found:
            raise InvalidInput(f"{option}: {quoted(name)} is given twice; give it once")
        found[name] = value
    return found


def read_input(text: str, option: str) -> tuple[str, Any]:
    """``name=JSON`` of a command line. Raises `InvalidInput`."""
    import orjson

    name, equals, value = text.partition("=")
    if not name or not equals:
        raise InvalidInput(f"{option}: {quoted(text)} is not name=JSON; write for example x=[[1,2]]")
    try:
        return name, orjson.loads(value)
    except orjson.JSONDecodeError as error:
        hint = "put a text in quotes of JSON, and all of it in a shell's: 'name=[\"Ada\"]'"
        raise InvalidInput(f"{option}: the value of {name} is no JSON: {error}; {hint}") from None
