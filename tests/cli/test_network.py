"""Nothing is asked of other machines: seen in the system calls, as native libraries pass hooks in Python by."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial

import httpx
import pytest

from tests.programs import missing

PATIENCE_S = 12  # ONNX Runtime asks for its host about nine seconds after a model is loaded
RESOLVERS = ("systemd/resolve", "system_bus_socket")
HOSTS = r"hosts\0"  # asked of nscd, which knows the names of users too


@pytest.fixture(autouse=True)
def _strace(strace):
    if subprocess.run([strace, "-qq", "-o", os.devnull, "true"], capture_output=True).returncode:
        missing("strace may not trace here")


def traced(log, *command):
    """A command that writes its network calls, and those of its children, to a file."""
    options = ["-f", "-qq", "--seccomp-bpf", "-e", "trace=%network", "-o", str(log)]
    return ["strace", *options, *map(os.fspath, command)]


def asked_beyond_this_machine(log):
    """Lines about addresses of other machines, and questions to a resolver wherever it is."""
    return [line for line in log.read_text(errors="replace").splitlines() if is_beyond(line)]


def is_beyond(line):
    socket = re.search(r'sun_path=@?"([^"]+)"', line)
    if socket:
        return any(name in socket[1] for name in RESOLVERS)
    addresses = re.findall(r'inet_(?:addr|pton)\((?:AF_INET6, )?"([^"]+)"', line)
    is_resolver = HOSTS in line or "sin_port=htons(53)" in line or "sin6_port=htons(53)" in line
    return is_resolver or any(not is_here(ipaddress.ip_address(address)) for address in addresses)


def is_here(address):
    return address.is_loopback or address.is_unspecified


@pytest.fixture
def traced_run(run, tmp_path):
    """Run `mmsearch ARGUMENTS` under strace; returns its output and what it asked beyond this machine.

    The environment forbids nothing, asks for telemetry, and knows no encoder yet.
    """
    del run.environment["HF_HUB_OFFLINE"]
    run.environment |= {
        "XDG_CACHE_HOME": str(tmp_path / "user-cache"), "MMSEARCH_CACHE": str(tmp_path / "cache"),
        "ORT_DISABLE_TELEMETRY": "0",
    }  # fmt: skip

    def traced_run(*arguments):
        log = tmp_path / f"{arguments[0]}.strace"
        command = traced(log, sys.executable, "-m", "mmsearch", *arguments)
        done = subprocess.run(command, capture_output=True, text=True, env=run.environment, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout, asked_beyond_this_machine(log)

    traced_run.environment = run.environment
    return traced_run


@pytest.fixture
def serving(indexed, traced_run, tmp_path):
    """A server under strace: returns its address, token, and how to end it and get what it asked."""
    log = tmp_path / "serve.strace"
    command = traced(log, sys.executable, "-m", "mmsearch", "serve", "--no-open", "--port", "0")
    server = subprocess.Popen(
        [*command, "--library", indexed.folder], stderr=subprocess.PIPE, text=True, env=traced_run.environment,
        start_new_session=True,
    )  # fmt: skip

    def end():
        os.killpg(server.pid, signal.SIGINT)
        server.communicate(timeout=20)
        return asked_beyond_this_machine(log)

    said = server.stderr.readline() + server.stderr.readline()
    address, token = re.search(r"(http://[^/]+)/.*token: (\S+)", said, re.DOTALL).groups()
    yield address, token, end
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)  # of strace alone it would let the server go
    server.communicate(timeout=20)


@pytest.mark.full
def test_no_command_asks_another_machine_for_anything(serving, traced_run, indexed, photos, checkpoint, tmp_path):
    address, token, end = serving
    ask = partial(httpx.post, f"{address}/search", headers={"authorization": f"Bearer {token}"})
    assert ask(json={"text": "two dogs in the snow"}).json()["hits"]
    start = time.monotonic()
    (photos / "captions.jsonl").write_text(json.dumps({"image": "cat.jpg", "captions": ["a cat"]}))
    for arguments in (
        ["index", photos, "--model", checkpoint, "--library", tmp_path / "fresh"],
        ["search", "a cat in the snow", "--library", indexed.folder],
        ["bench", "retrieval", photos, "--model", checkpoint],
    ):
        out, asked = traced_run(*arguments)
        assert (bool(out), asked) == (True, [])
    time.sleep(max(0, PATIENCE_S + start - time.monotonic()))
    assert end() == []
    assert not (tmp_path / "user-cache" / "Microsoft").exists()  # where events wait to be sent


def test_the_check_of_network_calls_can_fail(tmp_path):
    log, ask = tmp_path / "log", "import socket; socket.socket(type=socket.SOCK_DGRAM).connect(('{}', {}))"
    for address, port in (("192.0.2.1", 443), ("127.0.0.53", 53)):
        subprocess.run(traced(log, sys.executable, "-c", ask.format(address, port)), check=True)
        assert address in asked_beyond_this_machine(log)[0]
    subprocess.run(traced(log, sys.executable, "-c", ask.format("127.0.0.1", 443)), check=True)
    assert asked_beyond_this_machine(log) == []
