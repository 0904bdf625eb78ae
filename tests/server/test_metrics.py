"""What is counted: the number of series does not depend on what clients send."""

from __future__ import annotations

import platform
import re


def series(client):
    text = client.get("/metrics").text
    return {line.rpartition(" ")[0] for line in text.splitlines() if line.startswith("mmsearch_requests_total{")}


def test_what_clients_make_up_makes_no_series(client):
    def ask(n):
        for method in ("BREW", "M-SEARCH", f"GET{n}", f"X{n}"):
            for path in ("/search", "/status", "/pictures/1", "/session", f"/made/up/{n}", f"/static/{n}"):
                client.request(method, path)

    ask(1)
    series(client)  # which is a request itself
    before = series(client)
    for n in range(2, 10):
        ask(n)
    assert series(client) == before
    assert any('method="other"' in line for line in before)
    assert not any("BREW" in line for line in before)


def test_methods_that_exist_are_counted_by_name(client):
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        client.request(method, "/facets")
        assert any(f'endpoint="/facets",method="{method}"' in line for line in series(client))


def test_what_answers_and_what_it_takes_is_counted_too(client):
    text = client.get("/metrics").text
    status = client.get("/status").json()
    assert f'mmsearch_build_info{{model="{status["model"]}",python="{platform.python_version()}"' in text
    assert f'version="{status["version"]}"' in text
    for name in ("cpu_seconds_total", "resident_memory_bytes", "open_fds", "start_time_seconds"):
        assert float(re.search(rf"^process_{name} (\S+)$", text, re.MULTILINE)[1]) > 0
