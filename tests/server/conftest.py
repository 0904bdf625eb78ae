"""A real server in a thread, over a library of the sample photographs with visual words."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import pytest
from PIL import Image

from mmsearch import Library
from mmsearch.places import place_of
from mmsearch.samples import sample_folder
from mmsearch.server.app import create_app
from mmsearch.server.run import MAX_CONNECTIONS, server_of
from mmsearch.server.security import Access
from tests.conftest import base_of_run, copied_photos, copied_samples, copy_library, made_once
from tests.films import film, photograph
from tests.programs import path_of
from tests.server import browser as browsers
from tests.server.peopled import put_faces

# Certificates of the system, which a client reads as it is made, cost more than all that most tests ask.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass
class Served:
    """A running server: where, what it knows, and its secrets."""

    access: Access
    folder: Path
    photos: Path
    app: object
    server: object = None

    @property
    def address(self):
        return f"http://127.0.0.1:{self.access.port}"

    def client(self, **headers):
        return httpx.Client(base_url=self.address, headers=headers, timeout=30, verify=NO_TLS)

    def allowed(self):
        return self.client(authorization=f"Bearer {self.access.token}")


class HastyLoop(asyncio.SelectorEventLoop):
    """An event loop whose time begins at 0 and passes at once where all wait."""

    def __init__(self):
        super().__init__()
        self._now, self._select = 0.0, self._selector.select
        self._selector.select = self._pass

    def time(self):
        return self._now

    def _pass(self, seconds):
        assert seconds is not None, "all wait for ever"
        self._now += seconds
        return self._select(0)


def hastily(coroutine):
    """Run a coroutine in a loop that does not wait."""
    with asyncio.Runner(loop_factory=HastyLoop) as runner:
        return runner.run(coroutine)


@contextmanager
def running(folder, photos, *, n_connections=MAX_CONNECTIONS, token="", public=None, **options):
    """Serve a library until the end of the block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        access = Access("127.0.0.1", listener.getsockname()[1], token, public=public)
        app = create_app(place_of(folder), access, **options)
        server = server_of(app, n_connections=n_connections)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield Served(access, folder, photos, app, server)
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="session")
def served(described_once, cache, tmp_path_factory):
    """A server that tests share; they must leave its library as it is."""
    base = tmp_path_factory.mktemp("served")
    copied_samples(base / "photos")
    copy_library(described_once / "library", base / "library", described_once / "photos", base / "photos")
    with running(base / "library", base / "photos", cache=cache) as server:
        yield server


@pytest.fixture
def client(served):
    """A program that knows the token."""
    with served.allowed() as program:
        yield program


@pytest.fixture(scope="session")
def calibrated(checkpoint, calibrated_cache, tmp_path_factory):
    """A program that knows the token of a server over eight photographs, whose encoder is calibrated."""
    base = tmp_path_factory.mktemp("judged")
    copied_photos(base / "photos")
    with Library.open(base / "library", cache=calibrated_cache) as library:
        library.index([base / "photos"], model=str(checkpoint), local=False)
    with running(base / "library", base / "photos", cache=calibrated_cache) as server, server.allowed() as program:
        yield program


@pytest.fixture
def changeable(indexed, photos, cache):
    """A server over a small library that the test may change, and a program that knows its token."""
    with (
        running(indexed.folder, photos, cache=cache, thumbnail_bytes=300_000) as server,
        server.allowed() as client,
    ):
        yield server, client


@pytest.fixture(scope="session")
def writable(indexed_once, cache, tmp_path_factory):
    """A server over eight photographs; tests may write about them, each what no other one looks for."""
    base = tmp_path_factory.mktemp("writable")
    photos = copied_photos(base / "photos")
    copy_library(indexed_once / "library", base / "library", indexed_once / "photos", photos)
    put_faces(base / "library", photos, cache)
    with running(base / "library", photos, cache=cache) as server:
        yield server


@pytest.fixture(scope="session")
def filmed(checkpoint, cache, tiny_folder, tmp_path_factory):
    """A server over two photographs and three films, in which nothing moves; tests leave them as they are."""
    base = tmp_path_factory.mktemp("filmed")
    photos = copied_samples(base / "photos", 0)
    for name in ("cat.jpg", "fig.jpg"):
        shutil.copyfile(sample_folder() / name, photos / name)
    for name, shown, options in (
        ("holiday.mp4", ("cat", "creek", "dam"), {}),
        ("trip.webm", ("moose",), {"container": "webm", "codec": "libvpx-vp9"}),
        ("camera.avi", ("coffee",), {"container": "avi", "codec": "mpeg4"}),  # which no browser plays
    ):
        frames = [photograph(one) for one in shown for _ in range(20)]
        (photos / name).write_bytes(film(frames, **options))
    with Library.open(base / "library", cache=cache) as library:
        library.index([photos], model=str(checkpoint), local=False)
    with running(base / "library", photos, cache=cache) as server:
        yield server


@pytest.fixture
def peopled(indexed, photos, cache):
    """A server over people of whom a test may decide for good, and a program that knows its token."""
    put_faces(indexed.folder, photos, cache)
    with running(indexed.folder, photos, cache=cache) as server, server.allowed() as client:
        yield server, client


def hits(response):
    assert response.status_code == 200, response.text
    return response.json()["hits"]


def names(response):
    return [hit["name"] for hit in hits(response)]


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium; of a module, since its driver does not let other event loops run beside it."""
    with browsers.chromium() as chromium_browser:
        yield chromium_browser


@pytest.fixture(scope="session")
def gallery(offline_folder, cache, tmp_path_factory):
    """A library of the samples that knows words, with folders, dates and visual words; read only."""
    return made_once(base_of_run(tmp_path_factory) / "gallery", partial(make_gallery, cache=cache)) / "library"


def make_gallery(base, *, cache):
    for path in sorted(sample_folder().glob("*.jpg")):
        folder = base / "photos" / ("trip" if path.name > "m" else "home")
        folder.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        if folder.name == "trip":
            exif[0x010F], exif[0x0110] = "FUJIFILM", "X-T3"
            taken = f"20{20 + len(path.name) % 3}:05:01 10:00:00"
            exif.get_ifd(0x8769).update({0x9003: taken, 0x829A: 0.004, 0x829D: 2.8, 0x8827: 400, 0x920A: 35.0})
            exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 22.0, 12.9), 3: "W", 4: (4.0, 53.0, 42.6)})
        with Image.open(path) as image:
            image.save(folder / path.name, quality=95, exif=exif)
    with Library.open(base / "library", cache=cache) as library:
        library.index([base / "photos"], model="offline", local=True)


@pytest.fixture(scope="session")
def chromium():
    """Where Chromium is: asked for before anything is made for it to look at."""
    return path_of("chromium")


@pytest.fixture(scope="session")
def process(chromium, gallery, cache):
    """`mmsearch serve` over the gallery, as a user starts it."""
    started = browsers.start(gallery, cache)
    yield started
    started.stop()


@pytest.fixture
def page(browser, process):
    """A page of the gallery; it must meet no error and ask no other host."""
    with browsers.watched(browser, process.address, browsers.TOKEN) as watched:
        yield watched


@pytest.fixture
def api(process):
    """A program that asks the server of the page."""
    headers = {"authorization": f"Bearer {browsers.TOKEN}"}
    with httpx.Client(base_url=process.address, headers=headers, timeout=30, verify=NO_TLS) as program:
        yield program
