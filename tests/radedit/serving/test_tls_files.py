"""A server whose certificate is renewed in its files shows the new one, without a restart."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import uvicorn
from orthanc import Certificates, make_certificates

from radedit.lib.serving import run


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """Answer any request."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


def test_a_renewed_certificate_is_shown_and_a_half_written_one_is_not(
    certificates: Certificates,
    peer: Callable[[str], str],
    new_port: Callable[[], int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run, "_LOOK_TICKS", 1)
    renewed = make_certificates(tmp_path / "renewed", peer("openssl"))
    certificate, key = tmp_path / "server.crt", tmp_path / "server.key"
    shutil.copyfile(certificates.server, certificate)
    shutil.copyfile(certificates.server_key, key)
    port = new_port()
    wanted = uvicorn.Config(
        hello, port=port, log_config=None, lifespan="off", ssl_certfile=certificate,
        ssl_keyfile=key,
    )  # fmt: skip
    server = run._Server(wanted, threading.Event())
    thread = threading.Thread(target=server.run)
    thread.start()

    def is_trusted(by: Certificates) -> bool:
        try:
            with requests.Session() as session:
                session.trust_env = False
                session.get(f"https://127.0.0.1:{port}/", verify=str(by.ca), timeout=30)
        except requests.exceptions.SSLError:
            return False
        return True

    try:
        while not server.started and thread.is_alive():
            time.sleep(0.02)
        assert is_trusted(certificates)
        shutil.copyfile(renewed.server, certificate)  # its key is not there yet
        time.sleep(1.0)
        assert is_trusted(certificates)
        shutil.copyfile(renewed.server_key, key)
        deadline = time.monotonic() + 30
        while not is_trusted(renewed) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert is_trusted(renewed)
        assert not is_trusted(certificates)
    finally:
        server.should_exit = True
        thread.join()
