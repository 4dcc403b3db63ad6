"""A real PostgreSQL for the tests that share one: on loopback, with a password, gone afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

SECRET = "geheim"
NOBODY = "nobody"  # PostgreSQL refuses to run as root


class Postgres:
    """One server with one database cluster in a temporary folder.

    Parameters
    ----------
    initdb, server : paths of the programs `initdb` and `postgres`
    port : of 127.0.0.1
    """

    def __init__(self, initdb: str, server: str, port: int) -> None:
        self._programs = (initdb, server)
        self.port = port
        self._as = {"user": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        self._folder = Path(tempfile.mkdtemp(prefix="radedit-postgres-"))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Make the cluster and answer queries."""
        secret = self._folder / "secret"
        secret.write_text(SECRET)
        if self._as:
            shutil.chown(self._folder, NOBODY)
            shutil.chown(secret, NOBODY)
        cluster = str(self._folder / "cluster")
        subprocess.run(
            [
                self._programs[0], "-D", cluster, "-U", "radedit", "--pwfile", str(secret),
                "--auth", "scram-sha-256", "-E", "UTF8", "--locale", "C", "--no-sync",
            ],
            check=True, capture_output=True, timeout=300, cwd=self._folder, **self._as,
        )  # fmt: skip
        self._process = subprocess.Popen(
            [
                self._programs[1], "-D", cluster, "-p", str(self.port),
                "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
                "-c", "log_min_messages=fatal", "-c", "fsync=off",
            ],
            cwd=self._folder, stderr=subprocess.DEVNULL, **self._as,
        )  # fmt: skip
        self._wait()

    def database(self, name: str) -> str:
        """Make a database; give its URL."""
        self._run(f'CREATE DATABASE "{name}"')
        return self._url(name)

    def shut(self, name: str) -> None:
        """Drop every connection to a database and let nobody in."""
        self._run(
            f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false',
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
        )

    def open(self, name: str) -> None:
        """Let everybody in again."""
        self._run(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')

    def close(self) -> None:
        """End the server and remove its folder."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # at once, whoever is connected
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, *statements: str) -> None:
        import psycopg

        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def _url(self, name: str) -> str:
        return f"postgresql://radedit:{SECRET}@127.0.0.1:{self.port}/{name}"

    def _wait(self) -> None:
        import psycopg

        end = time.monotonic() + 120
        while time.monotonic() < end:
            try:
                psycopg.connect(self._url("postgres"), connect_timeout=5).close()
            except psycopg.OperationalError:
                time.sleep(0.2)
            else:
                return
        raise TimeoutError("PostgreSQL did not answer within 120 s")
