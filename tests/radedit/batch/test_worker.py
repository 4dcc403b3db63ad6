"""The process of a batch run that edits."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

ARENAS = """
import ctypes, os, sys, threading
from radedit.lib.batch.worker import share_one_arena
if sys.argv[1] == "shared":
    share_one_arena()
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p
gate = threading.Barrier(9)
def allocate():
    gate.wait()
    [libc.malloc(ctypes.c_size_t(5000)) for _ in range(200)]
    gate.wait()
for _ in range(8):
    threading.Thread(target=allocate).start()
gate.wait(); gate.wait()
stream = ctypes.c_void_p(libc.fopen(b"/dev/stdout", b"w"))
libc.malloc_info(0, stream)
libc.fclose(stream)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="arenas are glibc's")
def test_threads_share_one_arena_so_that_memory_does_not_creep() -> None:
    def arenas(how: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", ARENAS, how], capture_output=True, text=True, check=True
        )
        return done.stdout.count("<heap nr=")

    assert arenas("shared") == 1 < arenas("own")
