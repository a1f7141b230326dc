"""A provider of one model: it answers what it is told to, and counts who asked."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKENS_IN, TOKENS_OUT = 7, 11
#: Characters of a stream's chunk, and how many chunks there are: more than the proxy reads at once.
CHUNK, CHUNKS = 8_192, 80


class Provider:
    """How it answers may be changed at any time."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.asked = 0
        #: While it is clear, streams stop before their end.
        self.may_end = threading.Event()
        self.may_end.set()


@contextmanager
def provider() -> Iterator[Provider]:
    """Serve until the block is left."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            serving.asked += 1
            (self._stream if asked.get("stream") else self._answer)()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def _answer(self) -> None:
            body = json.dumps({"model": "gpt-4o", "choices": [], "usage": _USAGE}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _stream(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            try:
                for _ in range(CHUNKS):
                    delta = {"choices": [{"index": 0, "delta": {"content": "x" * CHUNK}}]}
                    self._chunk({"model": "gpt-4o", **delta})
                serving.may_end.wait()
                self._chunk({"model": "gpt-4o", "choices": [], "usage": _USAGE})
                self.wfile.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
            except OSError:
                self.close_connection = True

        def _chunk(self, document: object) -> None:
            data = b"data: " + json.dumps(document).encode() + b"\n\n"
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
            self.wfile.flush()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    serving = Provider(server.server_port)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield serving
    finally:
        serving.may_end.set()
        server.shutdown()
        server.server_close()


_USAGE = {
    "prompt_tokens": TOKENS_IN,
    "completion_tokens": TOKENS_OUT,
    "total_tokens": TOKENS_IN + TOKENS_OUT,
}
