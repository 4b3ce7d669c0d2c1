"""A few read-only pages over HTTP, for the machine that the daemon runs on. Knows nothing of what they show.

By the standard library's server: beside what the daemon has in memory anyway it is 0.1 MB and a sleeping thread, where
Starlette and uvicorn are 1.5 MB before they serve, and the bounds here would have to be added to those just the same.
At most `CONNECTIONS` are served at once; each has `SECONDS` to say what it wants, in at most `LARGEST` bytes, and is
closed after one answer. Names in Host are refused unless known: a page that somebody's browser shows could else point a
name of its own at this machine and read along (DNS rebinding).
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from ipaddress import ip_address
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import parse_qsl, urlsplit

CONNECTIONS = 8
SECONDS = 5.0
LARGEST = 8192

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a page says."""

    status: int
    kind: str
    """Content-Type."""
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def plain(status: int, text: str) -> Answer:
    return Answer(status, "text/plain; charset=utf-8", f"{text}\n".encode())


class Pages(ThreadingMixIn, HTTPServer):
    """Serves `pages`, path → function of the query, from a thread of its own."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 32

    def __init__(
        self,
        address: tuple[str, int],
        pages: Mapping[str, Callable[[Mapping[str, str]], Answer]],
        *,
        hosts: Sequence[str] = (),
        clock: Callable[[], float],
        failed: Callable[[Exception], object] = lambda _: None,
    ) -> None:
        """`failed` is told of a page that raised. Raises OSError where the address cannot be had."""
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.pages, self.clock, self.failed = pages, clock, failed
        self._hosts = {"localhost", *(host.lower() for host in hosts)}
        self._free = threading.BoundedSemaphore(CONNECTIONS)
        super().__init__(address, _Handler)
        self._closed = threading.Event()
        self._accepting = threading.Thread(target=self._accept, name="status", daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        """Not `serve_forever`, which wakes up twice a second to see whether it should end."""
        while not self._closed.is_set():
            self.handle_request()

    def server_bind(self) -> None:
        """Without http.server's look-up of this machine's own name, which may take long."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            with suppress(OSError):
                request.settimeout(0.1)
                request.sendall(b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is nobody's trouble."""

    def knows(self, host: str) -> bool:
        """Whether `host`, of a Host header, cannot be a name of somebody else's."""
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        if name in self._hosts or name.endswith(".localhost"):
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return True

    def close(self) -> None:
        """What is being answered is left to end by itself."""
        self._closed.set()
        with suppress(OSError):
            socket.create_connection((self.server_name, self.server_port), 1).close()
        self._accepting.join(1)
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Pages
    server_version, sys_version = "frappe-daemon", ""
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        """All that is asked is read first, within bounds: after that nobody can make us wait."""
        self.request.settimeout(SECONDS)
        self.connection, self._said = self.request, BytesIO()
        self.wfile, self.rfile = self._said, BytesIO(self._head())

    def _head(self) -> bytes:
        head, over = b"", self.server.clock() + SECONDS
        while b"\r\n\r\n" not in head and b"\n\n" not in head:
            left = over - self.server.clock()
            if left <= 0 or len(head) > LARGEST:
                return b""
            self.request.settimeout(left)
            piece = self.request.recv(4096)
            if not piece:
                return b""
            head += piece
        return head if len(head) <= LARGEST + 4096 else b""

    def handle(self) -> None:
        self.close_connection = True
        self.handle_one_request()

    def finish(self) -> None:
        with suppress(OSError):
            self.request.settimeout(SECONDS)
            self.request.sendall(self._said.getvalue())

    def do_GET(self) -> None:
        self._say(self._answer())

    do_HEAD = do_GET

    def _answer(self) -> Answer:
        host = self.headers.get("Host")
        if host is None and self.request_version != "HTTP/1.0":
            return plain(400, "there is no Host header")
        if host is not None and not self._known(host):
            said = f"{host[:100]!r} is no name of this page; ask by address, or name it in status.hosts"
            return plain(HTTPStatus.MISDIRECTED_REQUEST, said)
        try:
            parts = urlsplit(self.path)
            page = self.server.pages.get(parts.path)
            query = dict(parse_qsl(parts.query, max_num_fields=10))
        except ValueError:
            return plain(400, "this is no address")
        if page is None:
            return plain(404, f"there are: {', '.join(self.server.pages)}")
        try:
            return page(query)
        except Exception as error:  # whatever it is, the jobs go on
            self.server.failed(error)
            return plain(500, "this page cannot be shown; the daemon's log says why")

    def _known(self, host: str) -> bool:
        try:
            return self.server.knows(host)
        except ValueError:
            return False

    def _say(self, answer: Answer) -> None:
        self.send_response(answer.status)
        headers = {**_HEADERS, **answer.headers, "Content-Type": answer.kind, "Content-Length": str(len(answer.body))}
        for name, value in {**headers, "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Of http.server itself: no such method (501, which for pages that are only read is 405), a broken request."""
        refused = code == HTTPStatus.NOT_IMPLEMENTED
        self.command = self.command or "GET"
        text = "pages are only read: GET and HEAD" if refused else "this is no request of HTTP"
        answer = plain(405 if refused else code, text)
        self._say(Answer(answer.status, answer.kind, answer.body, {"Allow": "GET, HEAD"} if refused else {}))

    def version_string(self) -> str:
        return self.server_version

    def log_message(self, *_: Any) -> None:
        """Who looks is not worth a line."""
