"""How many processes a command works with, and on which device each of them."""

from __future__ import annotations


def processes(workers: int | None) -> tuple[str, ...]:
    """Name the device of each process.

    Where the settings say "cuda" every GPU has one, as under `radedit serve`; on a CPU, every
    core. More or fewer processes than that take the devices in turn.

    Parameters
    ----------
    workers : as asked for; None = as above
    """
    from radedit.lib.jobs.supervisor import devices
    from radedit.lib.settings import load_settings
    from radedit.lib.spread import cores

    found = devices(load_settings().device)
    count = workers or (cores() if found == ["cpu"] else len(found))
    return tuple(found[number % len(found)] for number in range(count))
