"""The viewer's server: reads only, on this machine unless told otherwise, behind a word that only its URL holds."""

from __future__ import annotations

import hmac
import ipaddress
import logging
import secrets
import socket
import socketserver
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from medvlp.errors import DataError
from medvlp.ledger import Ledger
from medvlp.viewer.answers import find_answers
from medvlp.viewer.site import Reply, Site

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_MAX_PATH = 200
_SECONDS = 30

_log = logging.getLogger(__name__)


def open_viewer(
    folder: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    slides: str | Path | None = None,
    show_names: bool = False,
) -> ViewerServer:
    """Open the viewer on one answer of ``medvlp diagnose`` or a folder of several; use it in a ``with`` statement.

    ``serve_forever()`` then answers requests, ``url`` is where to look.

    Args:
        folder: What ``medvlp diagnose`` wrote, or a folder of several such.
        host: Address to listen on; other machines reach every one but a loopback address.
        port: Port; 0 takes a free one.
        slides: The folder the slides lie in, where they are not where they were.
        show_names: Call slides by the names of their files; by default they are numbered.

    Raises:
        DataError: If there is nothing to show, a slide cannot be opened, or the address cannot be listened on.
        MissingExtraError: Without the extra ``slides``.
    """
    answers, ledger = find_answers(Path(folder), None if slides is None else Path(slides))
    site = Site(answers, show_names=show_names)
    try:
        return ViewerServer(site, host, port, ledger)
    except (OSError, OverflowError) as error:
        site.close()
        raise DataError(f"cannot listen there ({error})", item=f"{host}:{port}", remedy="choose another port") from None


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class ViewerServer(ThreadingHTTPServer):
    """Serves a :class:`medvlp.viewer.site.Site`; made by :func:`open_viewer`.

    Attributes:
        site: What is shown.
        ledger: Answers left out, with reasons.
        url: Where to look; holds the word without which nothing is shown.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, site: Site, host: str, port: int, ledger: Ledger) -> None:
        self.site, self.ledger = site, ledger
        self._word = secrets.token_urlsafe(16)
        self._host = host
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), _Handler)
        shown = f"[{host}]" if ":" in host else host
        below = "1/" if len(site.slides) == 1 else ""
        self.url = f"http://{shown}:{self.server_address[1]}/{self._word}/{below}"

    def server_bind(self) -> None:
        """Bind without asking the network for this machine's name, as the base class would."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self._host, self.server_address[1]

    def server_close(self) -> None:
        """Stop listening and close the slides."""
        super().server_close()
        self.site.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing about a browser that went away."""
        _log.debug("a connection was lost", exc_info=True)

    def knows(self, host: str | None) -> bool:
        """Whether a Host header names this server; another name has been pointed here by somebody else's page."""
        name = _host_name(host or "")
        if name in {"localhost", "127.0.0.1", "::1", self._host.lower()}:
            return True
        if is_loopback(self._host):
            return False
        try:  # an address cannot be pointed elsewhere, so all addresses of this machine may be used
            ipaddress.ip_address(name)
        except ValueError:
            return name == socket.gethostname().lower()
        return True

    def below_word(self, path: str) -> str | None:
        """The path behind the secret word, or None without it."""
        start = f"/{self._word}"
        found, rest = path[: len(start)].encode(), path[len(start) :]
        return rest if hmac.compare_digest(found, start.encode()) and rest.startswith("/") else None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _SECONDS
    server: ViewerServer

    def do_GET(self) -> None:
        if self.request_version == "HTTP/0.9":  # its replies have no headers, so none that protect the page
            self.send_error(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
            return
        if not self.server.knows(self.headers.get("Host")):
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            return
        if self.headers.get("Content-Length") or self.headers.get("Transfer-Encoding"):
            self.close_connection = True  # a body is not read, so it must not be taken for the next request
        below = self.server.below_word(self.path) if len(self.path) <= _MAX_PATH else None
        try:
            reply = None if below is None else self.server.site.reply(below)
        except Exception:  # one request must not end the others; the browser is told, details are for the log
            _log.warning("a request could not be answered; run with logging at debug for the reason")
            _log.debug("reason", exc_info=True)
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR)
            return
        if reply is None:
            self.send_error(HTTPStatus.NOT_FOUND)
        else:
            self._send(HTTPStatus.OK, reply)

    do_HEAD = do_GET

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer with the status in words alone; unknown methods are not allowed."""
        status = HTTPStatus(code)
        if status == HTTPStatus.NOT_IMPLEMENTED:
            status = HTTPStatus.METHOD_NOT_ALLOWED
        self.close_connection = True
        self.request_version = self.protocol_version  # or an old or unreadable request would get no headers
        self._send(status, Reply(f"{status.phrase}\n".encode(), "text/plain; charset=utf-8"))

    def _send(self, status: HTTPStatus, reply: Reply) -> None:
        self.send_response_only(status)
        self.send_header("Content-Type", reply.kind)
        self.send_header("Content-Length", str(len(reply.body)))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep no record of what was looked at."""


def _host_name(host: str) -> str:
    """The name in a Host header, without port and brackets, in lower case."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
