"""The review page as the server mounts it."""

from __future__ import annotations

from collections.abc import Callable

from starlette.testclient import TestClient


def test_a_server_can_be_told_that_everybody_reads_blinded_first(
    make_client: Callable[..., TestClient],
) -> None:
    client = make_client(blinded_first=True)
    answer = client.get("/review/api/edits", params={"reader": "Anna"})
    assert answer.json() == {"reader": "Anna", "blinded_first": True, "edits": []}
