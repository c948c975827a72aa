"""Requests as web pages and their helpers make them: each is refused by the gateway, whether it carries the key or not.

Written as bytes: an HTTP client would put most of them right.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

NAME = "csrf"
"""Of the job that each of them would start."""
BODY = json.dumps({"type": "SubmitJob", "data": {"spec": {"metadata": {"name": NAME}, "command": "id"}}})
JSON = ("Content-Type", "application/json")
FOREIGN = ("Origin", "https://evil.example")

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Attack:
    """`status` and `words` are what the gateway says to it when it carries the key."""

    about: str
    status: int
    words: str
    headers: Headers = field(default=(JSON,))
    target: str = "/v1/commands"
    method: str = "POST"
    host: Sequence[str] = ("HOST",)
    """`Host` headers, in which HOST stands for the gateway's ``host:port`` and PORT for its port."""
    version: str = "HTTP/1.1"

    def request(self, address: str, more: Headers = ()) -> bytes:
        body = BODY.encode() if self.method in ("POST", "PUT") else b""
        hosts = [("Host", each) for each in self.host]
        end = [("Content-Length", str(len(body))), ("Connection", "close")]
        lines = [f"{self.method} {self.target} {self.version}"]
        lines += [f"{name}: {value}" for name, value in (*hosts, *self.headers, *more, *end)]
        text = "\r\n".join([*lines, "", ""])
        return text.replace("HOST", address).replace("PORT", address.rpartition(":")[2]).encode() + body


HOST = "is no name of this gateway"
SITE = "another site"

ATTACKS = (
    # A page's fetch or form, which a browser sends without asking first.
    Attack("no-cors fetch", 403, SITE, (("Content-Type", "text/plain;charset=UTF-8"), FOREIGN)),
    Attack("the same as JSON", 403, SITE, (JSON, FOREIGN)),
    Attack("form", 403, SITE, (("Content-Type", "application/x-www-form-urlencoded"), FOREIGN)),
    Attack("sandboxed frame", 403, "'null' is another site", (JSON, ("Origin", "null"))),
    Attack("page of another port", 403, SITE, (JSON, ("Origin", "http://127.0.0.1:8888"))),
    Attack("page of our name over another scheme", 403, SITE, (JSON, ("Origin", "ftp://HOST"))),
    Attack("two origins, one of them ours", 403, SITE, (JSON, ("Origin", "http://HOST"), FOREIGN)),
    Attack("cross-site by its own word", 403, "sec-fetch-site", (JSON, ("Sec-Fetch-Site", "cross-site"))),
    Attack("same-site: another port", 403, "sec-fetch-site", (JSON, ("Sec-Fetch-Site", "same-site"))),
    # Browsers of old say nothing of where a request comes from.
    Attack("text/plain", 415, "content-type", (("Content-Type", "text/plain"),)),
    Attack("form, urlencoded", 415, "--json instead of -d", (("Content-Type", "application/x-www-form-urlencoded"),)),
    Attack("form, multipart", 415, "content-type", (("Content-Type", "multipart/form-data; boundary=x"),)),
    Attack("beacon without a type", 415, "content-type: is missing", ()),
    Attack("two types", 415, "content-type", (JSON, ("Content-Type", "text/plain"))),
    Attack("type in a type", 415, "content-type", (("Content-Type", "text/plain; application/json"),)),
    Attack("query as a form", 415, "content-type", (("Content-Type", "text/plain"),), "/v1/query/JobQueries/ListJobs"),
    # Other methods and paths.
    Attack("query", 403, SITE, (FOREIGN,), "/v1/jobs", "GET"),
    Attack("query by HEAD", 403, "", (FOREIGN,), "/v1/jobs", "HEAD"),
    Attack("image or script", 403, "sec-fetch-site", (("Sec-Fetch-Site", "cross-site"),), "/v1/jobs", "GET"),
    Attack("health, too", 403, SITE, (FOREIGN,), "/readyz", "GET"),
    Attack("preflight", 403, SITE, (FOREIGN, ("Access-Control-Request-Method", "POST")), method="OPTIONS"),
    Attack("preflight of all", 403, SITE, (FOREIGN,), "*", "OPTIONS"),
    Attack("delete", 403, SITE, (FOREIGN,), "/v1/jobs/j1", "DELETE"),
    Attack("websocket", 403, SITE, (FOREIGN, ("Upgrade", "websocket")), "/", "GET"),
    Attack("gRPC-web", 403, SITE, (("Content-Type", "application/grpc-web+proto"), FOREIGN), "/a.B/C"),
    Attack(
        "gRPC-web of an old browser", 415, "content-type", (("Content-Type", "application/grpc-web+proto"),), "/a.B/C"
    ),
    # The page's own name points to this machine: for the browser it is the same origin.
    Attack(
        "rebound name",
        403,
        HOST,
        (JSON, ("Origin", "http://evil.example:PORT"), ("Sec-Fetch-Site", "same-origin")),
        host=["evil.example:PORT"],
    ),
    Attack("rebound query", 403, HOST, (), "/v1/jobs", "GET", host=["evil.example:PORT"]),
    Attack("rebound name without a port", 403, HOST, host=["evil.example"]),
    Attack("in capitals", 403, HOST, host=["EVIL.EXAMPLE:PORT"]),
    Attack("our name as a part", 403, HOST, host=["localhost.evil.example:PORT"]),
    Attack("our address as a part", 403, HOST, host=["127.0.0.1.nip.io:PORT"]),
    Attack("trailing dot", 403, HOST, host=["localhost.:PORT"]),
    Attack("our address as a user", 403, HOST, host=["127.0.0.1:PORT@evil.example"]),
    Attack("a user of our address", 403, HOST, host=["evil.example@127.0.0.1:PORT"]),
    Attack("two names in one", 403, HOST, host=["127.0.0.1:PORT,evil.example"]),
    Attack("any address", 403, HOST, host=["0.0.0.0:PORT"]),
    Attack("our address as a number", 403, HOST, host=["2130706433:PORT"]),
    Attack("our address in IPv6", 403, HOST, host=["[::ffff:127.0.0.1]:PORT"]),
    Attack("IPv6 with a zone", 403, HOST, host=["[::1%25lo]:PORT"]),
    Attack("no name", 403, HOST, host=[""]),
    Attack("two names", 400, "multiple Host", host=["HOST", "evil.example"]),
    Attack("two names, one of them in a list", 400, "multiple Host", host=["evil.example", "HOST"]),
    Attack("a name in the target", 403, HOST, target="http://evil.example/v1/commands"),
    Attack("a user in the target", 403, HOST, target="http://evil.example@HOST/v1/commands"),
    Attack("another name of ours in the target", 403, "names two", target="http://localhost:PORT/v1/commands"),
    Attack("said to come by a proxy", 403, HOST, (JSON, ("X-Forwarded-Host", "HOST")), host=["evil.example"]),
    Attack("HTTP of old, without a name", 403, "host: is missing", host=[], version="HTTP/1.0"),
)
