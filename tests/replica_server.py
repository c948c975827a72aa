"""A replica's program for tests: a small HTTP server, where its task is told to listen."""

from __future__ import annotations

_PROGRAM = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"@".encode())
    def log_message(self, *_):
        pass
address = os.environ["FORGELOG_ADDRESS"], int(os.environ["FORGELOG_PORT_HTTP"])
http.server.ThreadingHTTPServer(address, Handler).serve_forever()
"""

WHO = "{os.environ['FORGELOG_REVISION']} {os.getpid()}"
"""Its revision and its process."""


def answering(text: str) -> str:
    """The program that answers each GET with this text, which may have Python in braces."""
    return _PROGRAM.replace("@", text)
