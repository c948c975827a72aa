"""A gRPC server with the standard health check, which notes what it was told by its environment."""

from __future__ import annotations

import json
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


def platform_folder() -> Path:
    """An agent is not told it; it knows its own folder in there."""
    own = os.environ.get("FORGELOG_AGENT_DIR")
    return Path(own).parents[1] if own else Path(os.environ["FORGELOG_DATA"])


def note(name: str) -> Path:
    """Write the FORGELOG_ variables where the test looks for them."""
    path = platform_folder() / f"told-{name}.json"
    path.write_text(json.dumps({key: value for key, value in os.environ.items() if key.startswith("FORGELOG_")}))
    return path


def until_told(name: str) -> None:
    """Wait for SIGTERM, and note in which order we ended."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: ended.set())
    note(name)
    ended.wait()
    with (platform_folder() / "ended").open("a") as file:
        file.write(name + "\n")


def serve(name: str) -> None:
    import grpc
    from grpc_health.v1 import health, health_pb2, health_pb2_grpc

    server = grpc.server(ThreadPoolExecutor(2))
    servicer = health.HealthServicer()
    servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    server.add_insecure_port(os.environ["FORGELOG_LISTEN"])
    server.start()
    until_told(name)
    server.stop(0).wait()


def serve_http(name: str) -> None:
    folder = platform_folder()
    removed = set[str]()

    class Ready(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Ready; every node whose agent was ever started is there until it is removed."""
            node = self.path.partition("?")[0].removeprefix("/v1/nodes/")
            there = (folder / f"told-{node}.json").exists() and node not in removed
            self.answer(200 if there or self.path == "/readyz" else 404, {"node": {"agent_id": "stub"}})

        def do_POST(self) -> None:
            command = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with (folder / "commands").open("a") as file:
                file.write(f"{command['type'].rpartition('.')[2]} {command['data']['node_id']}\n")
            if command["type"].endswith("RemoveNode"):
                removed.add(command["data"]["node_id"])
            self.answer(200, {})

        def answer(self, code: int, body: object) -> None:
            self.send_response(code)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

    host, port = os.environ["FORGELOG_LISTEN"].split(":")
    server = HTTPServer((host, int(port)), Ready)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    until_told(name)
