"""Keys, prompts and answers are in nothing that any process wrote, however its calls ended."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import socket
import sqlite3
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psycopg
import pytest
import redis

from tests.e2e.stored import _copied
from tests.faults.canary import Canary, found, new_canary
from tests.faults.patience import PATIENCE_S, awaited
from tests.faults.provider import Provider
from tests.faults.proxy_site import ProxySite, proxied

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.scene import MakeSite
    from tests.faults.site import Site

_PLACES = (
    "provider key",
    "prompt",
    "system",
    "tool",
    "image",
    "answer",
    "header",
    "wrong key",
    "query",
    "error",
)
_SETTLED = 3


class Marks:
    """One mark for each place, and the requests that carry them."""

    def __init__(self, platform_key: str) -> None:
        self.all = {place: new_canary(place) for place in _PLACES}
        # How a key begins is no secret; the rest is.
        self.all["platform key"] = Canary("platform key", platform_key.rpartition("_")[2])

    def __getitem__(self, place: str) -> str:
        return self.all[place].text

    @property
    def list(self) -> list[Canary]:
        return list(self.all.values())

    def body(self, *, stream: bool) -> dict[str, object]:
        image = base64.b64encode(self["image"].encode()).decode()
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": self["tool"]}}
        # As text: the site's table has no price for images.
        picture = {"type": "text", "text": f"data:image/png;base64,{image}"}
        return {
            "model": "gpt-4o",
            "max_tokens": 50,
            "stream": stream,
            "messages": [
                {"role": "system", "content": self["system"]},
                {"role": "user", "content": [{"type": "text", "text": self["prompt"]}, picture]},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c", "content": self["tool"]},
            ],
        }


@contextlib.contextmanager
def echoing(marks: Marks) -> Iterator[Provider]:  # noqa: C901 - one handler.
    """Serve a provider that repeats what it should not, as the header X-Mode says."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            serving.asked += 1
            mode = self.headers.get("X-Mode", "")
            if mode == "refuse":
                self._send(401, {"error": {"message": f"{marks['error']} {self.headers['Authorization']}"}})
            elif mode == "nonsense":
                self.wfile.write(f"HTTP/1.1 200 OK\r\nX-{marks['error']}\x00: 1\r\n\r\n".encode())
                self.close_connection = True
            elif mode:
                self._stream(ends=mode == "stream")
            else:
                message = {"role": "assistant", "content": marks["answer"]}
                self._send(200, {"model": "gpt-4o", "choices": [{"message": message}], "usage": _USAGE})

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def _send(self, status: int, document: object) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("X-Echo", marks["error"])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _stream(self, *, ends: bool) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            delta = {"model": "gpt-4o", "choices": [{"index": 0, "delta": {"content": marks["answer"] * 40}}]}
            with contextlib.suppress(OSError):
                for _ in range(60):
                    self._chunk(json.dumps(delta))
                if not ends:
                    serving.may_end.wait()
                    self.close_connection = True
                    return
                self._chunk(json.dumps({"model": "gpt-4o", "choices": [], "usage": _USAGE}))
                self._chunk("[DONE]")
                self.wfile.write(b"0\r\n\r\n")

        def _chunk(self, text: str) -> None:
            data = f"data: {text}\n\n".encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    serving = Provider(server.server_port)
    serving.may_end.clear()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield serving
    finally:
        serving.may_end.set()
        server.shutdown()
        server.server_close()


_USAGE = {"prompt_tokens": 7, "completion_tokens": 11, "total_tokens": 18}


class Caller:
    """Makes calls that carry every mark."""

    def __init__(self, proxy: ProxySite, marks: Marks) -> None:
        self._proxy = proxy
        self._marks = marks
        tenant = proxy.site.tenants[0]
        self._headers = {
            "X-OM-Api-Key": tenant.secret,
            "X-OM-Customer-Id": tenant.organization_id,
            "X-OM-User-Id": "anybody",
            "X-OM-Feature-Id": "search",
            "Authorization": f"Bearer {marks['provider key']}",
            "X-Any": marks["header"],
        }

    def ask(
        self,
        mode: str = "",
        *,
        content: bytes | None = None,
        path: str = "",
        more: dict[str, str] | None = None,
    ) -> int:
        """Give the status; the answer is read to its end, or to where it broke."""
        body = json.dumps(self._marks.body(stream=mode in {"stream", "break"})).encode()
        url = f"{self._proxy.url}{path or '/v1/chat/completions'}"
        sent = {**self._headers, "Content-Type": "application/json", "X-Mode": mode, **(more or {})}
        return httpx.post(
            url, content=body if content is None else content, headers=sent, timeout=PATIENCE_S
        ).status_code

    def all_ways(self) -> None:
        """Drive successes and refusals of every kind."""
        marks = self._marks
        assert self.ask() == 200
        assert self.ask("stream") == 200
        assert self.ask("refuse") == 401
        assert self.ask("nonsense") == 502
        assert self.ask(more={"X-OM-Api-Key": f"om_live_{marks['wrong key']}"}) == 401
        assert self.ask(more={"X-OM-User-Id": ""}) == 400
        assert self.ask(content=f'{{"messages": "{marks["prompt"]}'.encode()) == 400
        assert self.ask(
            content=gzip.compress(marks["prompt"].encode()), more={"Content-Encoding": "gzip"}
        ) in {
            400,
            415,
        }
        assert self.ask(path=f"/v1/{marks['query']}?key={marks['query']}") == 404
        assert self.ask(path=f"/v1/chat/completions?key={marks['query']}") in {200, 400, 502}
        for line in (
            f"Authorization: Bearer {marks['provider key']}\x00",
            f"{marks['header']} : x",
            marks["header"],
        ):
            self._raw(f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n")

    def _raw(self, text: str) -> None:
        port = int(self._proxy.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as connection:
            connection.sendall(text.encode("latin-1"))
            answer = b""
            while piece := connection.recv(65_536):
                answer += piece
        assert b" 400 " in answer[:14]
        assert found(self._marks.list, answer) == set()


def sinks(site: Site) -> dict[str, bytes]:
    """Everything that the processes wrote, by where."""
    files = [path for path in site.folder.rglob("*") if path.is_file()]
    written = {str(path.relative_to(site.folder)): path.read_bytes() for path in files}
    if site.database_url:
        written["tables"] = _copied(site.database_url)
        with psycopg.connect(site.database_url, autocommit=True) as connection:
            # What was committed may not have been written yet.
            connection.execute("CHECKPOINT")
            folder = connection.execute("SHOW data_directory").fetchone()
        assert folder is not None
        segments = sorted((Path(folder[0]) / "pg_wal").glob("0*"), key=lambda path: path.stat().st_mtime_ns)
        written["write-ahead log"] = b"".join(path.read_bytes() for path in segments[-2:])
    if site.redis is not None:
        # Of the tests' own, because that of the fixture reads text.
        with contextlib.closing(redis.Redis.from_url(site.redis.url)) as client:
            stored = {bytes(key): client.dump(key) for key in client.scan_iter()}
        written["queue"] = b"".join(key + (value or b"") for key, value in stored.items())
    return written


@contextlib.contextmanager
def planted(site: Site, proxy: ProxySite, text: str) -> Iterator[list[str]]:
    """Put a secret into each kind of sink and name the sinks."""
    with (site.folder / "01-rpc.log").open("a") as log:
        log.write(text)
    (proxy.files / "planted").write_bytes(gzip.compress(text.encode()))
    names = ["01-rpc.log", f"{proxy.files.relative_to(site.folder)}/planted"]
    with contextlib.ExitStack() as stack:
        if site.on_sqlite:
            # Open until the end, so that it stays in the write-ahead log.
            opened = sqlite3.connect(site.folder / "openmonetize.db", isolation_level=None)
            database = stack.enter_context(contextlib.closing(opened))
            database.execute("CREATE TABLE planted (text TEXT)")
            database.execute("INSERT INTO planted VALUES (?)", (text,))
            names.append("openmonetize.db-wal")
        else:
            with psycopg.connect(site.database_url) as connection:
                connection.execute("CREATE TABLE planted (text TEXT)")
                connection.execute("INSERT INTO planted VALUES (%s)", (text,))
            names += ["tables", "write-ahead log"]
        if site.redis is not None:
            site.redis.client.set("planted", text[::-1])
            names.append("queue")
        yield names


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_no_process_writes_a_key_a_prompt_or_an_answer_anywhere(make_site: MakeSite, kind: str) -> None:
    site = make_site(kind)
    site.environment["LOG_LEVEL"] = "debug"
    marks = Marks(site.tenants[0].secret)
    with echoing(marks) as provider, proxied(site, provider) as proxy:
        proxy.start(more={"LOG_LEVEL": "debug"})
        caller = Caller(proxy, marks)
        caller.all_ways()
        awaited(lambda: len(proxy.events()) >= _SETTLED)
        broken = threading.Thread(target=_broken, args=(caller,))
        asked = provider.asked
        broken.start()
        awaited(lambda: provider.asked > asked)
        proxy.kill()
        broken.join()
        alive = sinks(site)
        # What the next start writes when it goes on from the journal counts too.
        proxy.start(more={"LOG_LEVEL": "debug"})
        awaited(lambda: len(proxy.events()) > _SETTLED)
        site.kill()
        proxy.kill()
        dead = sinks(site)

        assert any(name.startswith("journal/") for name in dead)
        for written in (alive, dead):
            hits = {name: found(marks.list, data) for name, data in written.items()}
            assert {name: hit for name, hit in hits.items() if hit} == {}

        leak = new_canary("leak")
        with planted(site, proxy, leak.text) as names:
            written = sinks(site)
            for name in names:
                assert found([leak], written[name]), name


def _broken(caller: Caller) -> None:
    with contextlib.suppress(httpx.HTTPError):
        caller.ask("break")


@pytest.mark.parametrize("form", sorted(Canary("place", "0123456789abcdef0123456789abcdef").forms))
def test_a_mark_is_found_in_each_of_its_forms(form: str) -> None:
    canary = new_canary("place")
    data = b"before " + canary.forms[form] + b" behind"

    assert ("place", form) in found([canary], data)
    assert ("place", form) in found([canary], bytes(100) + canary.forms[form] + bytes(100))
    assert ("place", f"gzip: {form}") in found([canary], b"x" + gzip.compress(data) + b"y")
    assert found([new_canary("place")], data) == set()
    for shift in range(3):
        assert found([canary], base64.b64encode(b"x" * shift + canary.text.encode() + b"yyy"))
