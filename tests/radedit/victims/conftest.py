"""What tests of victims share."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest


@pytest.fixture(scope="session")
def run_python() -> Callable[[str], str]:
    """Run a program in a fresh interpreter; give what it prints."""

    def run(program: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
        return done.stdout

    return run
