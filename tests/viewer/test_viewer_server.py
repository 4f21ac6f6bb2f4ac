"""The viewer over HTTP: what it serves, and everything it must not."""

import http.client
import json
import re
import socket
from urllib.parse import urlsplit

import numpy as np
import pytest
from viewer_slides import CLASSES, HOT, IDENTIFIERS, SIDE

from medvlp.viewer.server import is_loopback, open_viewer

pytestmark = pytest.mark.extras


def get(server, below, method="GET", host=None, word=None):
    """Status, headers and body of a path behind the secret word."""
    found = urlsplit(server.url)
    word = found.path.split("/")[1] if word is None else word
    connection = http.client.HTTPConnection(found.hostname, found.port, timeout=20)
    connection.request(method, f"/{word}{below}", headers={} if host is None else {"Host": host})
    reply = connection.getresponse()
    body = reply.read()
    connection.close()
    return reply.status, reply.headers, body


def raw(server, request: bytes) -> bytes:
    """What comes back for bytes sent as they are."""
    found = urlsplit(server.url)
    with socket.create_connection((found.hostname, found.port), timeout=20) as stream:
        stream.sendall(request.replace(b"WORD", found.path.split("/")[1].encode()))
        parts = []
        while part := stream.recv(65536):
            parts.append(part)
    return b"".join(parts)


def test_it_listens_on_this_machine_only(server) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{22}/1/", server.url)
    assert [is_loopback(host) for host in ("127.0.0.1", "127.3.3.3", "::1", "localhost")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "example.org", "")] == [False] * 5


def test_pages_and_their_headers(server) -> None:
    for below in ("/", "/1/", "/1/slide.json", "/static/viewer.js", "/1/slide_files/0/0_0.jpeg"):
        status, headers, body = get(server, below)
        assert (status, len(body) > 0) == (200, True), below
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert "Access-Control-Allow-Origin" not in headers
        assert "Server" not in headers
    assert get(server, "/1/", method="HEAD")[2] == b""


def test_words_of_a_class_are_text_not_html(server) -> None:
    page = get(server, "/1/")[2].decode()
    assert "carcinoma &lt;b&gt;" in page
    assert "carcinoma <b>" not in page
    assert not re.search(r"<script>|<style|\son\w+=|style=|https?:", page)
    assert "Not calibrated, no threshold fitted" in page
    assert "Tiles answered at random give every class 1/2 of them" in page


def test_the_scores_of_a_tile(server) -> None:
    x, y = HOT
    hot = json.loads(get(server, f"/1/at/{x + SIDE - 1}_{y}.json")[2])
    assert (hot["x"], hot["y"], hot["side"]) == (x, y, SIDE)
    assert [row["name"] for row in hot["classes"]] == CLASSES
    assert [row["probability"] > 0.99 for row in hot["classes"]] == [True, False]
    assert [near["cosine"] for near in hot["classes"][0]["nearest"]] == pytest.approx([1.0] * 3, abs=1e-3)
    assert all("carcinoma <b>" in near["text"] for near in hot["classes"][0]["nearest"])
    beside = json.loads(get(server, f"/1/at/{x + SIDE}_{y}.json")[2])
    assert (beside["x"], beside["y"]) == (x + SIDE, y)
    assert beside["classes"][0]["probability"] < 0.01
    assert get(server, "/1/at/0_0.json")[2] == b"null"  # glass
    slide = json.loads(get(server, "/1/slide.json")[2])
    assert slide["classes"][0]["typical"][0] == hot["row"]
    assert json.loads(get(server, f"/1/tile/{hot['row']}.json")[2]) == hot


def test_pixels_are_the_slides(server) -> None:
    import io

    from PIL import Image

    status, headers, body = get(server, "/1/slide_files/10/1_0.jpeg")
    assert (status, headers["Content-Type"]) == (200, "image/jpeg")
    with Image.open(io.BytesIO(body)) as image:
        assert image.size == (256, 256)
        assert "exif" not in image.info
        assert np.abs(np.asarray(image)[200:240, 10:50].astype(int) - (120, 60, 150)).max() <= 3


ATTACKS = [
    "/../../../../etc/passwd", "/1/../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/static/../server.py",
    "/static/..%2fserver.py", "/static/%2e%2e/server.py", "/static//etc/passwd", "/static/server.py", "/static/",
    "/static", "//etc/passwd", "/etc/passwd", "/results.json", "/1/results.json", "/1/manifest.json",
    "/1/tiles.parquet", "/answer/", "/1", "/0/", "/2/", "/-1/", "/999999/", "/01x/", "/1/slide.json?x=1", "/1/?",
    "/1/slide.json#a",
    "/1/slide.json%00", "/1/slide_files/", "/1/slide_files/11/0_0.jpeg", "/1/slide_files/99/0_0.jpeg",
    "/1/slide_files/10/3_0.jpeg", "/1/slide_files/10/0_3.jpeg", "/1/slide_files/10/-1_0.jpeg",
    "/1/slide_files/10/999999_999999.jpeg", "/1/slide_files/10/0_0.png", "/1/slide_files/10/0_0.jpeg/", "/1/label",
    "/1/slide_files/0000000000/0_0.jpeg", "/1/heat/2-0.png", "/1/heat/0-2.png", "/1/tile/48.json", "/1/tile/-1.json",
    "/1/at/99999999_0.json", "/1/heat/0-0.png.json", "/favicon.ico", "/" + "a" * 3000, "/1/" + "../" * 50,
    "/static/openseadragon.LICENSE.txt", "\\..\\..\\etc\\passwd", "",
]  # fmt: skip


@pytest.mark.parametrize("below", ATTACKS)
def test_nothing_else_is_there(server, below) -> None:
    found = raw(server, f"GET /WORD{below} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    head, _, body = found.partition(b"\r\n\r\n")
    assert head.split(b" ")[1] == b"404"
    assert body == b"Not Found\n"


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /WORD/1/slide.json\x00.jpeg HTTP/1.1", b"404"),
        (b"GET http://localhost/WORD/1/ HTTP/1.1", b"404"),
        (b"GET /WORD/" + "/\u0661/".encode() + b" HTTP/1.1", b"404"),
        (b"GET /WORD/" + b"a" * 70000 + b" HTTP/1.1", b"414"),
        (b"GET / HTTP/1.1", b"404"),
        (b"GET /1/ HTTP/1.1", b"404"),
        (b"GET /wrongwrongwrongwrongwr/1/ HTTP/1.1", b"404"),
        (b"GET /WORDx/1/ HTTP/1.1", b"404"),
        (b"POST /WORD/1/ HTTP/1.1", b"405"),
        (b"PUT /WORD/1/ HTTP/1.1", b"405"),
        (b"DELETE /WORD/1/ HTTP/1.1", b"405"),
        (b"OPTIONS /WORD/1/ HTTP/1.1", b"405"),
        (b"TRACE /WORD/1/ HTTP/1.1", b"405"),
        (b"CONNECT localhost:22 HTTP/1.1", b"405"),
        (b"ODD /WORD/1/ HTTP/1.1", b"405"),
        (b"GET /WORD/1/ HTTP/9.9", b"505"),
        (b"GET /WORD/1/ extra HTTP/1.1", b"400"),
        (b"GET /WORD/1/", b"505"),
    ],
)
def test_odd_requests(server, request_line, status) -> None:
    found = raw(server, request_line + b"\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    head, _, body = found.partition(b"\r\n\r\n")
    assert head.split(b" ")[1] == status
    assert re.fullmatch(rb"[A-Za-z -]+\n", body)
    assert b"Python" not in head


def test_a_body_is_not_taken_for_a_request(server) -> None:
    smuggled = b"GET /WORD/1/slide.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    length = len(smuggled) + 18  # the word is 22 letters, not 4
    found = raw(server, b"GET /WORD/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % length + smuggled)
    assert found.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "10.0.0.5", "[::2]"])
def test_a_name_that_was_pointed_here_is_refused(server, host) -> None:
    assert get(server, "/1/", host=host)[0] == 421
    assert raw(server, b"GET /WORD/1/ HTTP/1.1\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 421")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9000", "127.0.0.1:1", "[::1]:8080"])
def test_names_of_this_machine_are_known_on_any_port(server, host) -> None:
    assert get(server, "/1/", host=host)[0] == 200


def test_open_to_a_network_any_address_but_no_other_name_is_known(answer) -> None:
    with open_viewer(answer, host="0.0.0.0") as server:
        assert server.knows("10.0.0.5:8080")
        assert server.knows(socket.gethostname())
        assert not server.knows("evil.example")
    if socket.has_ipv6:
        with open_viewer(answer, host="::1") as server:
            assert server.url.startswith("http://[::1]:")
            assert not server.knows("10.0.0.5")
    with open_viewer(answer, host="localhost") as server:
        assert not server.knows("10.0.0.5")


def test_no_reply_holds_an_identifier(server, answer) -> None:
    """Neither what the file says, nor its name, nor the folders it lies in, nor the command."""
    paths = ["/", "/1/", "/1/slide.json", "/1/slide.dzi", "/1/heat/0-0.png", "/1/heat/1-1.png", "/static/colours.png"]
    paths += [f"/1/tile/{row}.json" for row in (0, 10)] + ["/1/nothing", "/1/at/1_1.json"]
    paths += [f"/1/slide_files/{level}/0_0.jpeg" for level in range(11)]
    results = json.loads((answer / "results.json").read_text())
    assert results["slide"]["key"] == "DOE_JANE"  # so there is something to find
    assert "MRN-4711" in results["slide"]["path"]
    secrets = [*IDENTIFIERS, str(answer), results["command"], results["model"]["source"]]
    for path in paths:
        _, headers, body = get(server, path)
        for secret in secrets:
            assert secret.encode() not in body + str(headers).encode(), (path, secret)


def test_names_are_shown_when_asked_for(answer, run_viewer) -> None:
    with run_viewer(answer, show_names=True) as server:
        assert b"<h1>Slide 1 (DOE_JANE)</h1>" in get(server, "/1/")[2]
        assert b"MRN-4711" not in get(server, "/1/")[2]


def test_a_request_that_fails_does_not_end_the_others(server, monkeypatch) -> None:
    def broken(self, x, y):
        raise RuntimeError("secret words")

    monkeypatch.setattr("medvlp.viewer.answers.Answer.tile_at", broken)
    status, _, body = get(server, "/1/at/1_1.json")
    assert (status, body) == (500, b"Internal Server Error\n")
    assert get(server, "/1/")[0] == 200


def test_tiles_that_cannot_be_decoded_are_grey_and_counted(answer, run_viewer, monkeypatch) -> None:
    import io

    from PIL import Image

    from medvlp.slides.reader import Slide, UnreadableRegion

    def broken(self, x, y, side, size):
        raise UnreadableRegion("damaged", item="DOE_JANE")

    monkeypatch.setattr(Slide, "square", broken)
    with run_viewer(answer) as server:
        for _ in range(2):  # the second one from memory
            status, _, body = get(server, "/1/slide_files/10/0_0.jpeg")
            assert status == 200
            with Image.open(io.BytesIO(body)) as image:
                assert np.abs(np.asarray(image)[5, 100].astype(int) - 200).max() <= 2
        assert server.site.num_unreadable == 1
        assert get(server, "/1/slide_files/10/1_0.jpeg")[0] == 200
        assert server.site.num_unreadable == 2
