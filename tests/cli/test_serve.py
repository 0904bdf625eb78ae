"""`mmsearch serve` as a process: what it says, and what stops it."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx
import pytest

from tests import warm


@pytest.fixture
def started(run):
    """Start `mmsearch serve ARGUMENTS` and return it with the lines up to the token."""
    running = []

    def start(*arguments, **environment):
        open_browser = [] if "BROWSER" in environment else ["--no-open"]
        command = [sys.executable, "-m", "mmsearch", "serve", *open_browser, *arguments]
        server = warm.Popen(command, stderr=subprocess.PIPE, env={**run.environment, **environment}, text=True)
        running.append(server)
        lines = []
        while not (lines and lines[-1].startswith("token:")):
            lines.append(server.stderr.readline())
            assert lines[-1], lines
        return server, "".join(lines)

    yield start
    for server in running:
        server.kill()
        server.communicate()


def test_serve_prints_a_link_that_lets_a_browser_in_and_ends_quietly_on_interrupt(indexed, started):
    server, said = started("--port", "0", "--library", str(indexed.folder))
    link, token = re.search(r"page:  (\S+)", said)[1], re.search(r"token: (\S+)", said)[1]
    with httpx.Client(follow_redirects=True) as browser:
        page = browser.get(link)
        assert page.status_code == 200
        assert "mmsearch" in page.text
        assert browser.get(page.url.join("/status")).json()["n_pictures"] == 8
    found = httpx.get(page.url.join("/status"), headers={"authorization": f"Bearer {token}"})
    assert found.status_code == 200
    assert httpx.get(page.url.join("/status")).status_code == 401
    server.send_signal(signal.SIGINT)
    _, rest = server.communicate(timeout=20)
    assert (server.returncode, rest) == (0, "")


def test_a_server_that_is_told_to_end_leaves_nothing_behind(indexed, started, tmp_path):
    (tmp_path / "temporary").mkdir()
    server, _ = started("--port", "0", "--library", str(indexed.folder), TMPDIR=str(tmp_path / "temporary"))
    server.send_signal(signal.SIGTERM)
    _, rest = server.communicate(timeout=20)
    assert (server.returncode, rest) == (143, "")
    assert list((tmp_path / "temporary").iterdir()) == []


def test_the_token_of_the_environment_is_taken_and_not_printed(indexed, started):
    _, said = started("--port", "0", "--library", str(indexed.folder), MMSEARCH_TOKEN="a secret that is long")
    assert "a secret" not in said
    address = re.search(r"page:  (\S+)/start", said)[1]
    found = httpx.get(f"{address}/status", headers={"authorization": "Bearer a secret that is long"})
    assert found.status_code == 200


def test_a_warning_is_given_when_other_machines_can_ask(indexed, started):
    _, said = started("--port", "0", "--host", "0.0.0.0", "--library", str(indexed.folder))
    assert said.startswith("warning: 0.0.0.0 can be reached from other machines")


def test_browser_is_started_without_the_key_by_a_file_that_only_this_user_can_read(indexed, started, tmp_path):
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/arguments.new\n'
                       f"mv {tmp_path}/arguments.new {tmp_path}/arguments\n")  # fmt: skip
    browser.chmod(0o755)
    options = ("--port", "0", "--library", str(indexed.folder))
    server, said = started(*options, BROWSER=f"{browser} %s", TMPDIR=str(tmp_path))
    link = re.search(r"page:  (\S+)", said)[1]
    while not (tmp_path / "arguments").exists():
        time.sleep(0.05)
    (address,) = (tmp_path / "arguments").read_text().split()
    page = Path(unquote(urlsplit(address).path))
    assert (urlsplit(address).scheme, link.rpartition("=")[2] in address) == ("file", False)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (page, page.parent)] == [0o600, 0o700]
    assert re.search(r"url=([^\"]+)", page.read_text())[1] == link
    server.send_signal(signal.SIGINT)
    server.communicate(timeout=20)
    assert not page.parent.exists()


def test_what_an_operator_wants_is_said(indexed, started, tmp_path):
    options = ("--keep-token", "--log-level", "info", "--public-url", "https://pictures.example")
    (tmp_path / "nothing").mkdir()
    nowhere = {"BROWSER": "no-browser", "PATH": str(tmp_path / "nothing"), "DISPLAY": "", "WAYLAND_DISPLAY": ""}
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server, said = started("--port", str(port), "--library", str(indexed.folder), *options, **nowhere)
    assert re.search(r"page:  https://pictures\.example/start\?key=\S+   \(once\)\n", said)
    kept = Path(re.search(r"token: in (\S+)", said)[1])
    token = kept.read_text().strip()
    assert (kept.parent, token in said) == (indexed.folder, False)
    assert server.stderr.readline() == (
        "no browser could be started here; open the link yourself, or give --no-open\n"
    )
    answer = httpx.get(f"http://127.0.0.1:{port}/status", headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == 200
    server.send_signal(signal.SIGINT)
    _, logged = server.communicate(timeout=20)
    time_of_line = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}"
    assert re.fullmatch(rf"{time_of_line} INFO method=GET path=/status client=127\.0\.0\.1 status=200 .*\n", logged)


def test_a_token_is_either_given_or_kept(run):
    code, _, said = run("serve", "--no-open", "--token", "a token that is long", "--new-token")
    assert code == 2
    assert "a given token is not kept" in said


def test_no_token_is_kept_where_there_is_no_library(run, tmp_path):
    code, _, said = run("serve", "--no-open", "--keep-token", "--library", tmp_path / "nothing")
    assert (code, "no library found" in said) == (1, True)
    assert not (tmp_path / "nothing").exists()


def test_a_port_that_is_taken_is_a_sentence(indexed, run):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, _, said = run("serve", "--no-open", "--port", str(port), "--library", indexed.folder)
    assert code == 1
    assert f"error: cannot listen on 127.0.0.1 port {port}" in said
    assert "choose another with --port, or another address with --host" in said


def test_a_token_that_is_too_short_is_a_sentence(indexed, run):
    code, _, said = run("serve", "--no-open", "--token", "short", "--library", indexed.folder)
    assert (code, said) == (1, "error: the token has 5 characters; give at least 16 that nobody guesses\n")


def test_a_library_that_is_not_there_is_a_sentence(run, tmp_path):
    code, _, said = run("serve", "--no-open", "--library", tmp_path / "nothing")
    assert code == 1
    assert "no library found" in said


def test_serve_says_what_to_install_when_the_server_is_not(run, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'fastapi' else find(name, *rest)\n"
    )
    run.program = ["-m", "mmsearch"]
    run.environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    code, _, said = run("serve", "--no-open")
    assert code == 1
    assert said == "error: the server is not installed; install it with `pip install 'mmsearch[serve]'`\n"
