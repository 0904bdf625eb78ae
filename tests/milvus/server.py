"""A real Milvus server for a test run: started when it is first needed, stopped at its end."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from mmsearch.milvus.address import Address
from mmsearch.milvus.engine import READ_S, Engine

PASSWORD = "root:Milvus"
"""What it asks for: the one that servers begin with."""
TICK_MS = 50  # after which what was written is shown; by itself 200


class Server:
    """The server of one process of a test run.

    Parameters
    ----------
    server : milvus.MilvusServer
        Not started yet.
    lock : Path
        Held by the process that starts one: ports are chosen by what is free.
    """

    def __init__(self, server, lock: Path) -> None:
        self._server, self._lock = server, lock
        config = server.config
        keys = [key for key in config.configurable_items if key.endswith("_port")]
        server.webservice_port, peer, *ports = free_ports(2 + len(keys))
        config.configs.update(zip(keys, ports, strict=True))
        self._write_etcd_settings(config.configs["etcd_port"], peer)
        config.set("authorization_enabled", True)
        config.set("proxy.timeTickInterval", TICK_MS)

    def start(self) -> None:
        with self._lock.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._server.start()
        # Started again it takes the same ports, which the wheel would find in use for a while after.
        self._server.config.resolve = lambda: None
        self._server.webservice_port = free_ports(1)[0]

    def _write_etcd_settings(self, port: int, peer_port: int) -> None:
        """Let the etcd inside listen at these ports: by itself it takes one that is always the same."""
        client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
        config = self._server.config
        path = Path(config.base_data_dir) / "etcd.yaml"
        path.write_text(
            f"listen-client-urls: {client}\nadvertise-client-urls: {client}\nlisten-peer-urls: {peer}\n"
            f"initial-advertise-peer-urls: {peer}\ninitial-cluster: default={peer}\n"
        )
        config.template_text = config.template_text.replace("\netcd:\n", f"\netcd:\n  config:\n    path: {path}\n")

    def stop(self) -> None:
        self._server.stop()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.listen_port}"

    def address(self, name: str) -> str:
        return f"milvus://{self.host}/{name}"

    def engine(self, name: str = "any") -> Engine:
        return Engine(Address.parse(self.address(name)), PASSWORD)

    def drop(self, name: str) -> None:
        """Drop the collections of a library."""
        client = self.engine().client
        for collection in (name, f"{name}__about"):
            client.drop_collection(collection, timeout=READ_S)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let the server answer nothing, as if its machine had gone."""
        os.kill(self._server.server_proc.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._server.server_proc.pid, signal.SIGCONT)
            time.sleep(0.2)


def free_ports(n: int) -> list[int]:
    """Return ports that nobody listens at now."""
    with ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket()) for _ in range(n)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def running(folder: Path, shared: Path) -> Iterator[Server]:
    """Run a server with its data in a folder; its program is unpacked once, into a shared one."""
    milvus = pytest.importorskip("milvus", reason="the wheel of the Milvus server is not installed")
    pytest.importorskip("pymilvus", reason="pymilvus is not installed")
    shared.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True)
    (folder / "bin").symlink_to(shared, target_is_directory=True)
    program = milvus.MilvusServer()
    program.set_base_dir(str(folder))
    server = Server(program, shared.parent / "starting-milvus")
    try:
        server.start()
        yield server
    finally:
        server.stop()
