"""Which workers a server starts; how they are kept running is in tests/system/test_jobs.py."""

from __future__ import annotations

from radedit.lib.jobs.supervisor import devices


def test_a_gpu_that_the_settings_name_is_not_exchanged_for_the_processor() -> None:
    """Where there is none, the worker says so."""
    assert devices("cuda")
    assert all(name.startswith("cuda") for name in devices("cuda"))
    assert devices("cpu") == ["cpu"]
    assert devices("cuda:1") == ["cuda:1"]
