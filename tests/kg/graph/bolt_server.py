"""ArcadeDB as a process of its own: the tests' graph database over Bolt, which can be killed by its handle.

Run as a program it serves until its standard input is closed, so it never outlives the tests that started it.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

PASSWORD = "only-for-tests"
DATABASE = "graph"
START_S = 120


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class BoltProcess:
    """A server on a free port of this machine; its data lie in ``root`` and outlive it."""

    def __init__(self, root: Path, *, port: int | None = None) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.port = port or free_port()
        self.log = root / "server.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__)), str(root / "data"), str(self.port), str(free_port())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=root,
            )
        for line in self._process.stdout:
            if line.strip() == b"ready":
                return
        self.kill()
        raise RuntimeError(f"The Bolt server did not start: {self.log.read_text('utf-8', 'replace')[-2000:]}")

    @property
    def uri(self) -> str:
        return f"bolt://127.0.0.1:{self.port}"

    def server(self, **options):
        """Return where it is, for a connection; the driver is imported by those who connect only."""
        from kg.graph.neo4j_driver import BoltServer

        return BoltServer(uri=self.uri, user="root", password=PASSWORD, database=DATABASE, **options)

    def kill(self) -> None:
        """End the process at once, as a machine that goes down would."""
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


def main() -> None:
    from arcadedb_embedded.server import ArcadeDBServer

    root, bolt_port, http_port = sys.argv[1:]
    config = {
        "host": "127.0.0.1",
        "http_port": http_port,
        "bolt_port": int(bolt_port),
        "server_plugins": "Bolt:com.arcadedb.bolt.BoltProtocolPlugin",
    }
    server = ArcadeDBServer(root, PASSWORD, config, {"heap_size": "512m"})
    server.start()
    if not (Path(root) / "databases" / DATABASE).exists():
        server.create_database(DATABASE)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
