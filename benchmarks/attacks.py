"""What strangers may do to `mmsearch serve`: every attack does its harm once, and says how it was answered.

`ATTACKS` has them by name; `strangers.py` measures them, and the tests of the server run them too. An attack is
given the server and how often it came before, and returns how many requests had which answer: a status of HTTP, or
`ended` for a connection that the server closed without one, `late` for an answer that was not waited for, `left`
for a client that did not want one.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from hostile import PICTURES
from memory import peak_mb
from mixture import BOUNDARY, FORM, JSON, as_new, form
from serving import TOKEN, serving
from synthetic import new_text

BODY_BYTES = 20 << 20
"""The largest body that the server takes."""
PATIENCE_S = 60.0
_ESTABLISHED = 1  # state of a connection of TCP
_SOON_S = 5.0  # a request after an attack is answered within

Answers = Counter[str]


@dataclass
class Server:
    """A server in a process of its own: where it is, and the library that it shows."""

    folder: Path
    port: int
    process: subprocess.Popen[str]
    ids: dict[str, int] = field(default_factory=dict)
    """Of pictures by their names."""
    cookie: str = ""
    """Of a browser that was let in."""

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def head(self, method: str, path: str, **headers: str) -> bytes:
        """Return the first lines of a request, without the token."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def ask(
        self, method: str, path: str, body: bytes = b"", *, token: str | None = TOKEN,
        patience_s: float = PATIENCE_S, **headers: str,
    ) -> tuple[str, bytes]:  # fmt: skip
        """Send a request on a connection of its own; return the status, or what came instead, and the body."""
        allowed = {} if token is None else {"Authorization": f"Bearer {token}"}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=patience_s)
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # refused before all was sent: there is an answer
                connection.request(method, path, body or None, allowed | headers)
            response = connection.getresponse()
            return str(response.status), response.read()
        except TimeoutError:
            return "late", b""
        except (OSError, http.client.HTTPException):
            return "ended", b""
        finally:
            connection.close()

    def json(self, path: str, asked: Any = None, *, patience_s: float = PATIENCE_S) -> tuple[str, Any]:
        """Ask by JSON with the token, and return the status with what was answered."""
        if asked is None:
            status, body = self.ask("GET", path, patience_s=patience_s)
        else:
            kind = {"Content-Type": JSON}
            status, body = self.ask("POST", path, json.dumps(asked).encode(), patience_s=patience_s, **kind)
        try:
            return status, json.loads(body)
        except ValueError:
            return status, None

    def search_text(self, *, patience_s: float = PATIENCE_S) -> str:
        """Ask a text that was never asked before as a browser that was let in; return the status."""
        body = json.dumps({"text": new_text(), "k": 5}).encode()
        headers = {"Content-Type": JSON, "Origin": f"http://127.0.0.1:{self.port}", "Cookie": self.cookie}
        return self.ask("POST", "/search", body, token=None, patience_s=patience_s, **headers)[0]

    def let_in(self) -> None:
        """Take the cookie for the token: a token that was chosen waits where others guess, see `server.guesses`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        connection.request("POST", "/session", json.dumps({"token": TOKEN}).encode(), {"Content-Type": JSON})
        self.cookie = connection.getresponse().headers["set-cookie"].partition(";")[0]
        connection.close()

    def peak_mb(self) -> float:
        """Most memory in MB that the process had since `forget_peak`, its children apart."""
        return peak_mb(self.process.pid)

    def forget_peak(self) -> None:
        """Begin a new measurement of the most memory."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")


@contextmanager
def attacked(folder: Path) -> Iterator[Server]:
    """Run a server over a library until the end of the block, which it may not live to see."""
    with serving(folder) as (port, process):
        server = Server(folder, port, process)
        try:
            _, listed = server.json("/pictures?limit=1000")
            server.ids = {picture["name"]: picture["id"] for picture in listed["pictures"]}
            server.let_in()
            server.search_text()  # what is loaded once
            yield server
        finally:
            process.kill()


# -- pictures --------------------------------------------------------------------------------------------------

WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "search": ("/search/upload", {"k": 5, "rerank": "none"}),
    "rerank": ("/search/upload", {"k": 5, "rerank": "local"}),
    "box": ("/search/upload", {"k": 5, "pictures": [{"upload": 0, "box": [0, 0, 100_000, 100_000]}]}),
    "classify": ("/classify/upload", {"labels": ["cat", "dog"]}),
    "words": ("/search/upload", {"k": 5, "mode": "local"}),
}


PICTURE_S = 20.0
"""Within which one picture has its answer: ten seconds of computing, on cores that others use too."""
_BY_PICTURE = frozenset({"200", "422", "503"})


@cache
def made(name: str) -> bytes:
    """Return a picture of `hostile.PICTURES`, made once."""
    return PICTURES[name]()


def send_picture(server: Server, picture: bytes, way: str) -> tuple[str, bytes]:
    """Send a picture as one of `WAYS`; return the status and the body of the answer."""
    path, asked = WAYS[way]
    return server.ask("POST", path, form(asked, as_new(picture)), **{"Content-Type": FORM})


def _one_picture(name: str) -> Attack:
    def run(server: Server, turn: int) -> Answers:
        return Counter([send_picture(server, made(name), list(WAYS)[turn % len(WAYS)])[0]])

    return Attack(run, _BY_PICTURE, prepare=lambda: made(name), most_s=PICTURE_S)


def _eight_pictures(name: str) -> Attack:
    def run(server: Server, turn: int) -> Answers:
        ways = [list(WAYS)[(turn + place) % len(WAYS)] for place in range(8)]
        return _together(lambda way: send_picture(server, made(name), way)[0], ways)

    return Attack(run, _BY_PICTURE, prepare=lambda: made(name))


def _together(ask: Callable[[Any], str], what: Sequence[Any]) -> Answers:
    """Ask all at once."""
    with ThreadPoolExecutor(len(what)) as pool:
        return Counter(pool.map(ask, what))


def thumbnails(server: Server, turn: int) -> Answers:
    """Ask thumbnails of two sizes of the hostile pictures that the library has, all at once."""
    wanted = [
        (picture_id, side)
        for name, picture_id in server.ids.items() if name.startswith("hostile") for side in (160, 1280)
    ]  # fmt: skip
    with suppress(OSError):
        (server.folder / "thumbnails.sqlite").unlink()  # those that were kept cost nothing
    return _together(lambda asked: server.ask("GET", f"/pictures/{asked[0]}/thumbnail?side={asked[1]}")[0], wanted)


# -- bodies ------------------------------------------------------------------------------------------------------


def _bodies(path: str, token: str | None) -> Callable[[Server, int], Answers]:
    """Return an attack of 40 bodies of nearly 20 MiB at once."""
    body = b'{"token": "%s"}' % (b"x" * (BODY_BYTES - 100))

    def run(server: Server, turn: int) -> Answers:
        kind = {"Content-Type": JSON}
        return _together(lambda _: server.ask("POST", path, body, token=token, **kind)[0], range(40))

    return run


def _json(text: Callable[[], bytes], path: str = "/search", token: str | None = TOKEN) -> Callable[..., Answers]:
    """Return an attack of one JSON."""

    def run(server: Server, turn: int) -> Answers:
        kind = {"Content-Type": JSON}
        return Counter([server.ask("POST", path, text(), token=token, **kind)[0]])

    return run


@cache
def _empty_lists() -> bytes:
    return b'{"text": "a", "where": [' + b"[]," * (BODY_BYTES // 3 - 20) + b"[]]}"


@cache
def _unknown_members() -> bytes:
    return b'{"text": "a"' + b"".join(b', "%x": 0' % n for n in range(1_400_000)) + b"}"


@cache
def _nested_lists() -> bytes:
    return b"[" * (BODY_BYTES - 10)


@cache
def _empty_objects() -> bytes:
    return b'{"text": "a", "pictures": [' + b"{}," * (BODY_BYTES // 3 - 20) + b"{}]}"


def _large_pictures(server: Server, turn: int) -> Answers:
    """Send 40 small photographs at once, each with much behind its end."""
    picture = made("jpeg, 60000 x 900")
    body = form({"k": 5}, picture + bytes(BODY_BYTES - 1_000 - len(picture)))
    return _together(lambda _: server.ask("POST", "/search/upload", body, **{"Content-Type": FORM})[0], range(40))


def _form_of_many_parts(server: Server, turn: int) -> Answers:
    """Send a form of 20 MiB whose parts are empty."""
    part = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n'.encode()
    body = part * (BODY_BYTES // len(part) - 1) + f"--{BOUNDARY}--\r\n".encode()
    return Counter([server.ask("POST", "/search/upload", body, **{"Content-Type": FORM})[0]])


# -- without a token ---------------------------------------------------------------------------------------------


def made_up_methods(server: Server, turn: int) -> Answers:
    """Send 2,000 methods that there are not, with and without the token."""
    answers: Answers = Counter()
    paths = ("/", "/session", "/static/page.js", "/nothing", "/search", "/pictures/1")
    for n in range(2_000):
        method = f"M{turn}X{n}"
        token = TOKEN if n % 2 else None
        answers[server.ask(method, paths[n % len(paths)], token=token)[0]] += 1
    return answers


def n_series(server: Server) -> int:
    """Return how many series `/metrics` has."""
    _, text = server.ask("GET", "/metrics")
    return sum(bool(line) and not line.startswith(b"#") for line in text.splitlines())


def wrong_tokens(server: Server, turn: int, *, n: int = 200) -> Answers:
    """Try wrong tokens as programs do, by 16 at once."""
    with ThreadPoolExecutor(16) as pool:
        tokens = [f"a wrong token, {turn} {place}" for place in range(n)]
        return Counter(pool.map(lambda token: server.ask("GET", "/status", token=token)[0], tokens))


def wrong_session_tokens(server: Server, turn: int, *, n: int = 200) -> Answers:
    """Try wrong tokens as the page of a browser does, by 16 at once."""

    def ask(place: int) -> str:
        body = json.dumps({"token": f"a wrong token, {turn} {place}"}).encode()
        headers = {"Content-Type": JSON, "Origin": f"http://127.0.0.1:{server.port}"}
        return server.ask("POST", "/session", body, token=None, **headers)[0]

    with ThreadPoolExecutor(16) as pool:
        return Counter(pool.map(ask, range(n)))


def slow_readers(server: Server, turn: int, *, n: int = 200, patience_s: float = PATIENCE_S) -> Answers:
    """Ask a large original n times; half read nothing, half a byte a second, until the server ends them."""
    (picture_id,) = [image_id for name, image_id in server.ids.items() if name.startswith("large")]
    request = server.head("GET", f"/pictures/{picture_id}/file", Authorization=f"Bearer {TOKEN}")
    return _unread(server, [request] * n, patience_s)


def slow_pipelines(server: Server, turn: int, *, n: int = 200, patience_s: float = 90.0) -> Answers:
    """Ask for public files again and again on n connections, without the token, and read no answer."""
    request = server.head("GET", "/openapi.json")
    return _unread(server, [request * 400] * n, patience_s)


def _unread(server: Server, requests: Sequence[bytes], patience_s: float) -> Answers:
    """Send requests, each on a connection of its own, and read nothing or a byte a second."""
    answers: Answers = Counter()
    with ExitStack() as stack:
        readers = []
        for request in requests:
            reader = stack.enter_context(socket.socket())
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            with suppress(OSError):
                reader.connect(("127.0.0.1", server.port))
                reader.setblocking(False)
                reader.send(request)
            readers.append(reader)
        end = time.monotonic() + patience_s
        while readers and time.monotonic() < end:
            time.sleep(1)
            readers[: len(requests) // 2] = [link for link in readers[: len(requests) // 2] if _is_open(link, 1)]
            readers[len(requests) // 2 :] = [link for link in readers[len(requests) // 2 :] if _is_open(link, 0)]
        answers["ended"], answers["late"] = len(requests) - len(readers), len(readers)
    return +answers


def _is_open(connection: socket.socket, n_bytes: int) -> bool:
    """Return whether the server holds a connection, and read so many bytes of it."""
    state = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    if state != _ESTABLISHED:
        return False
    with suppress(BlockingIOError):
        if n_bytes and not connection.recv(n_bytes):
            return False
    return True


# -- work that goes on when its client has left ------------------------------------------------------------------


def leave_classify(server: Server, turn: int) -> Answers:
    """Ask for 1,000 labels by 100 templates, and by ten, and leave; then ask for two labels."""
    answers: Answers = Counter()
    for n_templates in (100, 10):
        status, _ = server.json("/classify", _many_labels(server, n_templates), patience_s=1)
        answers["left" if status == "late" else status] += 1
    small = {"labels": ["cat", "dog"], "pictures": [{"id": next(iter(server.ids.values()))}]}
    answers[server.json("/classify", small, patience_s=_SOON_S)[0]] += 1
    return answers


def _many_labels(server: Server, n_templates: int) -> dict[str, Any]:
    """Return what asks for 1,000 labels by so many templates, none of which was asked before."""
    return {
        "labels": [f"{new_text()} {n}" for n in range(1_000)],
        "templates": [f"sort {n} of {{}} {new_text()}" for n in range(n_templates)],
        "pictures": [{"id": next(iter(server.ids.values()))}],
    }


def interrupt_classify(server: Server, turn: int) -> float:
    """Press Ctrl-C while 1,000 labels by ten templates are asked; return the seconds until the server ended."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(server.json, "/classify", _many_labels(server, 10))
        time.sleep(1)
        return interrupt(server)


def interrupt_picture(server: Server, turn: int) -> float:
    """Press Ctrl-C while a slow picture is decoded; return the seconds until the server ended."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(send_picture, server, made("jpeg, 20000 scans"), "search")
        time.sleep(1)
        return interrupt(server)


def interrupt(server: Server) -> float:
    """Press Ctrl-C; return the seconds until the server ended."""
    start = time.monotonic()
    server.process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        server.process.wait(PATIENCE_S)
    seconds = time.monotonic() - start
    server.process.kill()  # an answer that is waited for ends
    return seconds


# -- files that are cut ------------------------------------------------------------------------------------------


def _cut(share: float, n_texts: int) -> Callable[[Server, int], Answers]:
    """Return an attack that cuts the vectors in place while so many texts are asked, and restores them."""

    def run(server: Server, turn: int) -> Answers:
        (path,) = server.folder.glob("vectors-*.f16")
        whole = path.read_bytes()
        answers: Answers = Counter()
        try:
            os.truncate(path, int(share * len(whole)))
            if n_texts:
                answers += _together(lambda _: server.search_text(patience_s=10), range(n_texts))
            else:
                time.sleep(0.2)
        finally:
            with path.open("r+b") as file:
                file.write(whole)
        answers[server.search_text(patience_s=10)] += 1
        return answers

    return run


# -- all ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Attack:
    """What does harm once, and the answers that a server may give to it."""

    run: Callable[[Server, int], Answers]
    allowed: frozenset[str]
    texts: frozenset[str] = frozenset({"200"})
    """Answers that texts may have meanwhile."""
    prepare: Callable[[], object] = lambda: None
    """Makes what is sent, which is no part of the attack."""
    most_s: float = PATIENCE_S
    """Within which it must be over."""
    most_times: int = 100
    """How often it comes at most: whoever guesses waits for minutes."""


def _attack(
    run: Callable[..., Answers], *allowed: str, texts: tuple[str, ...] = ("200",),
    prepare: Callable[[], object] = lambda: None,
) -> Attack:  # fmt: skip
    return Attack(run, frozenset(allowed), frozenset(texts), prepare)


_MANY = ("webp of 40 bytes", "tiff, one large tile", "png, RGBA 16 bits", "jpeg, 20000 scans")
PICTURE_ATTACKS = {f"picture: {name}": _one_picture(name) for name in PICTURES}
ATTACKS: dict[str, Attack] = PICTURE_ATTACKS | {
    **{f"eight at once: {name}": _eight_pictures(name) for name in _MANY},
    "thumbnails of hostile pictures": _attack(thumbnails, "200", "410", "503"),
    "40 bodies to /session": _attack(_bodies("/session", None), "413", "403", "408", "ended"),
    "40 bodies to /search": _attack(_bodies("/search", None), "401", "ended"),
    "40 bodies to /search with the token": _attack(_bodies("/search", TOKEN), "422", "413", "503", "ended"),
    "40 pictures of 20 MiB": _attack(_large_pictures, "200", "422", "503"),
    "empty lists": _attack(_json(_empty_lists), "413", "422", prepare=_empty_lists),
    "empty objects": _attack(_json(_empty_objects), "413", "422", prepare=_empty_objects),
    "unknown members": _attack(_json(_unknown_members), "413", "422", prepare=_unknown_members),
    "nested lists": _attack(_json(_nested_lists), "413", "422"),
    "empty lists to /session": _attack(_json(_empty_lists, "/session", None), "413", "422", "ended"),
    "empty parts": _attack(_form_of_many_parts, "400", "413", "422"),
    "made-up methods": _attack(made_up_methods, "401", "404", "405", "501"),
    "wrong tokens": Attack(wrong_tokens, frozenset({"401"}), most_s=600, most_times=2),
    "wrong tokens to /session": Attack(wrong_session_tokens, frozenset({"403"}), most_s=600, most_times=2),
    "slow readers": _attack(slow_readers, "ended"),
    "slow readers without a token": Attack(slow_pipelines, frozenset({"ended"}), most_s=95),
    "classify, and leave": _attack(leave_classify, "left", "200", "422"),
    **{
        f"vectors cut to {word}, {asked}": _attack(_cut(share, n), "200", "503", texts=("200", "503"))
        for word, share in (("a half", 0.5), ("nothing", 0.0))
        for asked, n in (("idle", 0), ("eight texts", 8))
    },
}  # fmt: skip
INTERRUPTS: dict[str, Callable[[Server, int], float]] = {
    "Ctrl-C while it classifies": interrupt_classify,
    "Ctrl-C while it decodes": interrupt_picture,
}
