"""A reverse proxy before the server: browsers see one origin, which is let in, and no other."""

from __future__ import annotations

import pytest

from mmsearch.errors import ServerError
from mmsearch.server.origin import Origin
from mmsearch.server.security import Access
from tests.server.conftest import running

PUBLIC = "https://pictures.example"


@pytest.mark.parametrize(
    ("url", "origin"),
    [("http://pictures.example:80", "http://pictures.example"), ("https://a.b:8443/", "https://a.b:8443"),
     ("https://[2001:DB8::1]:443", "https://[2001:db8::1]"), ("http://b\u00fccher.example", "http://xn--bcher-kva.example")],
)  # fmt: skip
def test_an_origin_is_written_as_browsers_write_it(url, origin):
    assert str(Origin.parse(url)) == origin


@pytest.mark.parametrize(
    "url", ["pictures.example", "ftp://a.example", "https://", "https://a.example/photos", "https://a.example?x",
            "https://u:p@a.example", "https://a.example:99999", "https://a.example:x", "", "https://[::1", "https://*"]
)  # fmt: skip
def test_what_is_no_origin_is_a_sentence(url):
    with pytest.raises(ServerError, match="is no public address of a server; expected a scheme, a name"):
        Origin.parse(url)


@pytest.fixture(scope="module")
def proxied(served, cache):
    """A server that browsers reach by another name."""
    with running(served.folder, served.photos, cache=cache, public=Origin.parse(PUBLIC)) as server:
        yield server


def test_the_names_of_the_proxy_and_of_this_machine_are_answered_and_no_others(proxied):
    with proxied.allowed() as client:
        for host in ("pictures.example", "pictures.example:443", "Pictures.Example"):
            assert client.get("/status", headers={"host": host}).status_code == 200, host
        assert client.get("/status").status_code == 200
        for host in ("pictures.example:80", "x.pictures.example", "pictures.example.", "evil.example"):
            assert client.get("/status", headers={"host": host}).status_code == 400, host


@pytest.mark.parametrize("has_name", [True, False], ids=["by the public name", "by the name of this machine"])
def test_pages_of_the_proxy_may_search_and_others_may_not(proxied, has_name):
    host = {"host": "pictures.example"} if has_name else {}
    with proxied.client(**host) as client:
        opened = client.post("/session", json={"token": proxied.access.token}, headers={"origin": PUBLIC})
        assert opened.status_code == 204
        assert "secure" in opened.headers["set-cookie"].lower()
        cookie = {"cookie": opened.headers["set-cookie"].partition(";")[0]}
        for origin, status in (
            (PUBLIC, 200), ("https://PICTURES.example", 200), ("http://pictures.example", 403), ("null", 403),
            ("https://pictures.example:8443", 403), ("https://evil.example", 403),
        ):  # fmt: skip
            answer = client.post("/search", json={"text": "a cat"}, headers=cookie | {"origin": origin})
            assert answer.status_code == status, origin
        foreign = {"origin": PUBLIC, "sec-fetch-site": "cross-site"}
        assert client.post("/search", json={"text": "a cat"}, headers=cookie | foreign).status_code == 403


def test_without_a_public_address_that_of_a_proxy_is_refused(client):
    assert client.post("/search", json={"text": "a cat"}, headers={"origin": PUBLIC}).status_code == 403


def test_the_link_is_that_of_the_proxy():
    assert Access("127.0.0.1", 8765, public=Origin.parse(PUBLIC)).address == PUBLIC
    assert Access("0.0.0.0", 8765).address == "http://127.0.0.1:8765"
    assert Access("::1", 8765).address == "http://[::1]:8765"
