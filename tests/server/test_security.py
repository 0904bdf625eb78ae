"""Who may ask what (S1-S3, S7, S8): names, tokens, origins, paths, and what a server never does."""

from __future__ import annotations

import ast
import base64
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import httpx
import pytest

import mmsearch
from mmsearch import Library
from mmsearch.server.security import Access
from tests.server.conftest import running

REFUSED_HOSTS = [
    "evil.example", "evil.example:{port}", "127.0.0.1", "localhost", "localhost:1", "127.0.0.1:80", "[::1]",
    "127.0.0.2:{port}", "localhost.evil.example:{port}", "evil.example:{port}@localhost:{port}", "0.0.0.0:{port}",
    "localhost:{port}.evil.example", "", ":{port}", "LOCALHOST.:{port}", "127.1:{port}", "2130706433:{port}",
    "[::ffff:127.0.0.1]:{port}", "localhost:0{port}", "127.0.0.1:{port}:{port}", "[::1:{port}", "::1:{port}",
]  # fmt: skip
ALLOWED_HOSTS = ["localhost:{port}", "127.0.0.1:{port}", "[::1]:{port}", "LocalHost:{port}"]
SECRET = "the contents of a file that is not in the library"


# -- S1: names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", REFUSED_HOSTS)
@pytest.mark.parametrize("path", ["/", "/status", "/start", "/pictures/1/thumbnail"])
def test_a_host_that_is_not_ours_is_refused_before_anything_else(served, host, path):
    with served.allowed() as client:
        answer = client.get(path, headers={"host": host.format(port=served.access.port)})
    assert answer.status_code == 400
    assert "content-security-policy" in answer.headers or not host  # h11 itself refuses what is no header


@pytest.mark.parametrize("host", ALLOWED_HOSTS)
def test_names_of_this_machine_are_answered(client, served, host):
    assert client.get("/status", headers={"host": host.format(port=served.access.port)}).status_code == 200


def test_an_address_is_answered_but_no_other_name_when_everyone_may_ask():
    access = Access("0.0.0.0", 8765)
    assert access.answers_to("192.168.1.5:8765")
    assert access.answers_to("[fe80::1]:8765")
    assert not access.answers_to("evil.example:8765")
    assert not access.answers_to("192.168.1.5:80")
    assert not access.is_loopback
    assert Access("pictures.home", 80).answers_to("pictures.home")


# -- S2: tokens and origins --------------------------------------------------------------------------


PATHS = ["/status", "/metrics", "/facets", "/pictures", "/pictures/1", "/pictures/1/thumbnail", "/pictures/1/file"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer wrong", "Basic dG9rZW4=", "Bearer täst"])
def test_nothing_of_the_library_is_told_without_the_token(served, path, authorization):
    with served.client() as client:
        answer = client.get(path, headers={"authorization": authorization.encode("utf-8")})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["title"] == "Unauthorized"


def test_made_up_paths_need_the_token_too(served):
    with served.client() as client:
        assert client.get("/anything").status_code == 401


@pytest.fixture(scope="module")
def visited(served):
    """A browser that opened the link."""
    with httpx.Client(base_url=served.address, follow_redirects=False) as client:
        answer = client.get(served.access.start_path())
        assert answer.status_code == 303
        assert answer.headers["location"] == "/"
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        yield client


def test_the_link_works_once(visited, served):
    path = served.access.start_path()
    with served.client() as client:
        assert client.get(path).status_code == 403
        assert client.get("/start?key=guess").status_code == 403
        assert client.get("/start").status_code == 403
    assert Access("localhost", 1).take_key("") is False


def test_a_browser_that_was_let_in_may_open_its_link_again(visited, served):
    again = visited.get(served.access.start_path())
    assert (again.status_code, again.headers["location"]) == (303, "/")


def test_every_start_has_its_own_secrets_which_are_not_shown():
    first, second = Access("localhost", 1), Access("localhost", 1)
    assert first.token != second.token
    assert first.start_path() != second.start_path()
    assert min(len(first.token), len(first.start_path())) >= 43  # 32 bytes in Base64
    assert first.token not in repr(first)
    assert first.start_path().partition("=")[2] not in repr(first)


@pytest.mark.parametrize("token", ["\ud800", "\x00", "t\u00e4st", "x" * 1_000, 5, None, ["a"], {}])
def test_what_is_no_token_lets_nobody_in(served, token):
    body = json.dumps({"token": token}).encode()
    with served.client() as client:
        answer = client.post("/session", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (403, 422)
    assert "set-cookie" not in answer.headers


def test_a_browser_that_lost_its_cookie_is_let_in_by_the_token(served):
    with served.client() as client:
        assert client.post("/session", json={"token": "guess"}).status_code == 403
        assert client.get("/status").status_code == 401
        assert client.post("/session", json={"token": served.access.token}).status_code == 204
        assert client.get("/status").status_code == 200


def test_a_browser_with_the_cookie_may_look(visited):
    assert visited.get("/status").status_code == 200


ASKED = {"content": json.dumps({"text": "a cat"}), "headers": {"content-type": "application/json"}}


def post(client, **headers):
    return client.post("/search", content=ASKED["content"], headers=ASKED["headers"] | headers)


def test_a_search_with_the_cookie_needs_our_own_origin(visited, served):
    port = served.access.port
    assert post(visited, origin=served.address).status_code == 200
    for origin in (
        "null", "http://evil.example", f"http://localhost:{port}", f"https://127.0.0.1:{port}",
        "http://127.0.0.1:1", f"http://127.0.0.1:{port}.evil.example", f"{served.address}/",
    ):  # fmt: skip
        assert post(visited, origin=origin).status_code == 403, origin
    assert post(visited).status_code == 403


def test_a_form_of_another_site_is_refused(visited):
    answer = visited.post("/search/upload", files={"picture": b"x"}, headers={"origin": "http://evil.example"})
    assert answer.status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_pictures_cannot_be_embedded_by_another_site_even_with_the_cookie(visited, site):
    answer = visited.get("/pictures/1/thumbnail", headers={"sec-fetch-site": site})
    assert answer.status_code == 403
    same_site = visited.get("/pictures/1/thumbnail", headers={"sec-fetch-site": "same-origin"})
    assert same_site.headers["cross-origin-resource-policy"] == "same-origin"


def test_a_program_with_the_token_needs_no_origin_but_may_not_have_a_foreign_one(client, served):
    assert post(client).status_code == 200
    assert post(client, origin=served.address).status_code == 200
    assert post(client, origin="http://evil.example").status_code == 403


def test_no_answer_lets_other_sites_read_it(client, served):
    for method in ("GET", "POST", "OPTIONS", "HEAD"):
        answer = client.request(method, "/status", headers={"origin": served.address})
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_every_answer_is_marked(client, served):
    for path in (
        "/",
        "/status",
        "/pictures/1/thumbnail",
        "/pictures/999999",
        "/nowhere",
        "/openapi.json",
        "/docs",
        "/health",
    ):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"].startswith("default-src 'self'")
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["referrer-policy"] == "no-referrer"


# -- S3: paths ---------------------------------------------------------------------------------------


TRAVERSALS = [
    "../secret.txt", "..%2fsecret.txt", "..%2Fsecret.txt", "%2e%2e/secret.txt", "%2e%2e%2fsecret.txt",
    "..\\secret.txt", "..%5csecret.txt", "%252e%252e%252fsecret.txt", "....//secret.txt", "..;/secret.txt",
    "..%00/secret.txt", "secret.txt%00.jpg", "/etc/passwd", "%2fetc%2fpasswd", "//etc/passwd", "file:///etc/passwd",
    "..%c0%afsecret.txt", "..%c1%9csecret.txt", "%c0%ae%c0%ae/secret.txt", "..%ef%bc%8fsecret.txt",
    "%uff0e%uff0e/secret.txt", "./../secret.txt", "%2e/%2e%2e/secret.txt", "static/../../secret.txt",
    "1/../../secret.txt", "1%2f..%2f..%2fsecret.txt", "1/file/../../../secret.txt", "-1", "0", "1e3", "0x1", "1.0",
    "+1", "01/../2", "9" * 30, "\u0661", "1;2", "1%0a", "%20", "{id}", "*", "~", "~root/.ssh/id_rsa",
    "C:\\boot.ini", "catalog.sqlite", "..%2f..%2flibrary%2fcatalog.sqlite", "http:%2f%2fevil.example%2fx.jpg",
    "1?path=/etc/passwd",
]  # fmt: skip


SPELLINGS_OF_ONE = ("1?path=/etc/passwd", "1.0", "+1", "1%0a")  # these are the picture 1, whatever else they say


def raw_get(served, target, token):
    """Send a path as it is: clients tidy it up before they send it."""
    import socket

    with socket.create_connection(("127.0.0.1", served.access.port), timeout=10) as connection:
        head = (
            f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{served.access.port}\r\n"
            f"Authorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        )
        connection.sendall(head.encode("utf-8", "surrogateescape"))
        received = b""
        while block := connection.recv(65_536):
            received += block
    return received


@pytest.mark.parametrize("text", TRAVERSALS)
def test_no_path_leads_to_a_file(served, text):
    (served.photos.parent / "secret.txt").write_text(SECRET)
    for start in ("/pictures/", "/static/", "/", "/pictures/1/thumbnail/", "/pictures/1/file?path="):
        answer = raw_get(served, start + text, served.access.token)
        assert SECRET.encode() not in answer
        assert b"root:" not in answer
        assert b"SQLite format" not in answer
        status = int(answer.split()[1])
        assert status < 500
        assert status != 200 or start.endswith("path=") or text in SPELLINGS_OF_ONE


def test_there_are_forty_traversal_strings():
    assert len(TRAVERSALS) >= 40


# -- S7: names that hide something -------------------------------------------------------------------


HOSTILE = [
    b"<img src=x onerror=alert(1)>.jpg", b"\x1b[31mred\x1b[0m.jpg", b"a\nSet-Cookie: x=1.jpg", b'"; filename=x.jpg',
    b"caf\xe9\xff.jpg", b"' OR 1=1 --.jpg", "‮gpj.exe.jpg".encode(),
]  # fmt: skip


def name_of(hit):
    """The bytes of a name, which JSON holds in Base64 where they are no text."""
    if "name_base64" not in hit:
        return hit["name"].encode()
    assert base64.b64decode(hit["path_base64"]).endswith(b"/" + base64.b64decode(hit["name_base64"]))
    return base64.b64decode(hit["name_base64"])


def test_hostile_names_travel_as_data(indexed, photos, cache):
    for name in HOSTILE:
        shutil.copyfile(photos / "cat.jpg", os.fsencode(photos) + b"/" + name)
    indexed.index([photos], local=False)
    with running(indexed.folder, photos, cache=cache) as served, served.allowed() as client:
        ranked = client.post("/search", json={"text": "a", "k": 50, "collapse": "none"}).json()["hits"]
        assert all(hit["path"].encode("utf-8") for hit in ranked)
        ids = {name_of(hit): hit["id"] for hit in ranked}
        assert ids.keys() >= set(HOSTILE)
        for name in HOSTILE:
            described = client.get(f"/pictures/{ids[name]}")
            assert described.headers["content-type"] == "application/json"
            assert described.content.isascii()
            file = client.get(f"/pictures/{ids[name]}/file")
            assert file.status_code == 200
            assert "set-cookie" not in file.headers
            disposition = file.headers["content-disposition"]
            assert disposition.startswith("inline; filename*=UTF-8''")
            assert not set(disposition[25:]) & set("<>\"'\x1b\n ;")
            assert unquote(disposition[25:], errors="strict") == name.decode(errors="replace")
            assert "sandbox" in file.headers["content-security-policy"]


def test_what_a_request_says_comes_back_as_data(client):
    answer = client.post("/search", json={"text": "a", "where": ["<script>alert(1)</script>\x1b[31m"]})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"


# -- S8: what is never done --------------------------------------------------------------------------


PACKAGE = Path(mmsearch.__file__).parent


def dangers(source):
    """Yield what would run code that is data."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from ({"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"} & set(modules))
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in ("eval", "exec", "os.system", "os.popen"):
                yield called
            for keyword in node.keywords:
                if (keyword.arg, ast.unparse(keyword.value)) in {
                    ("weights_only", "False"), ("allow_pickle", "True"), ("shell", "True"),
                    ("trust_remote_code", "True"),
                }:  # fmt: skip
                    yield f"{called}({keyword.arg})"
            if called == "torch.load" and "weights_only" not in {keyword.arg for keyword in node.keywords}:
                yield called


def test_no_data_is_run_as_code():
    seen = {path.name: list(dangers(path.read_text())) for path in PACKAGE.rglob("*.py")}
    # This one reads pickles of plain values by an unpickler that imports nothing; it has tests of its own.
    assert {name: wrong for name, wrong in seen.items() if wrong} == {"plain_pickle.py": ["pickle"]}


def test_the_check_of_code_that_is_data_can_fail():
    for source in ("import pickle", "from pickle import load", "eval('1')", "torch.load(p, weights_only=False)",
                   "torch.load(p)", "np.load(p, allow_pickle=True)"):  # fmt: skip
        assert list(dangers(source)), source


WATCHED = """
import sys
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        sys.stderr.write(f"SOCKET {event} {arguments}\\n")
sys.addaudithook(watch)
from mmsearch.cli.app import main
sys.argv = ["mmsearch", *sys.argv[1:]]
main()
"""


def test_a_server_talks_to_nobody_but_those_who_ask(indexed, cache, tmp_path):
    environment = {**os.environ, "MMSEARCH_TOKEN": "t" * 20, "MMSEARCH_CACHE": str(cache)}
    command = [sys.executable, "-c", WATCHED, "serve", "--port", "0", "--no-open", "--library", indexed.folder]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, text=True) as server:
        lines = []
        while not (lines and lines[-1].startswith("token:")):
            lines.append(server.stderr.readline())
            assert lines[-1], lines
        address = next(line.split()[1] for line in lines if line.startswith("page:")).partition("/start")[0]
        with httpx.Client(base_url=address, headers={"authorization": f"Bearer {'t' * 20}"}, timeout=30) as client:
            assert client.post("/search", json={"text": "not asked before"}).status_code == 200
            assert client.get("/pictures/1/thumbnail").status_code == 200
            assert client.post("/classify", json={"labels": ["a", "b"], "pictures": [{"id": 1}]}).status_code == 200
        server.send_signal(signal.SIGINT)
        lines += server.stderr.read().splitlines(keepends=True)
    assert server.returncode == 0, lines
    talked = [line for line in lines if line.startswith("SOCKET")]
    # Its own address is looked up to listen on it.
    assert {line.partition(",")[0] for line in talked} <= {"SOCKET socket.getaddrinfo ('127.0.0.1'"}, lines
    assert not [line for line in lines if "Traceback" in line], lines


def test_the_library_is_left_as_it_was(indexed, photos, cache):
    before = {path: path.read_bytes() for path in photos.rglob("*.jpg")}
    with running(indexed.folder, photos, cache=cache) as served, served.allowed() as client:
        client.get("/pictures/1/thumbnail")
        client.get("/pictures/1/file")
    assert {path: path.read_bytes() for path in photos.rglob("*") if path.is_file()} == before
    with Library.open(indexed.folder, cache=cache) as again:
        assert again.verify().problems == ()
