"""Films per hour against devices, archive and victims, from what a bench measured.

A run is a pipeline, so its slowest part sets its pace. With G devices, c cores, an archive of B
MB/s, V victims under test:

    device    G / s_edit                  s_edit: seconds of one device per film
    cores     c / s_cpu                   s_cpu: CPU seconds of masks, reading and storing per film
    archive   B / mb                      mb: what one film moves in all, both ways
    victims   V_at_once / s_victim        s_victim: seconds of one answer times answers per film

each in films per second; on a CPU, device and cores are the same and their seconds add up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Site:
    """A hospital's machine.

    Attributes
    ----------
    devices : GPUs; 0 = the cores edit too
    cores : of the CPU
    archive_mb_s : what the archive gives and takes, MB/s; None = a folder beside it
    film_mb : of one film, fetched
    stored_mb : of its three objects; they are read back, so they count twice
    answers : of a victim for each film, 0 = nobody is asked
    victim_s : of one answer
    victims_at_once : answers that are awaited together
    """

    devices: int = 0
    cores: int = 2
    archive_mb_s: float | None = None
    film_mb: float = 10.0
    stored_mb: float = 12.0
    answers: int = 0
    victim_s: float = 0.0
    victims_at_once: int = 1


@dataclass(frozen=True)
class Cost:
    """What one film costs, measured.

    Attributes
    ----------
    edit_s : seconds of a device; on a CPU, CPU seconds
    cpu_s : CPU seconds beside it: fetch, masks, store
    """

    edit_s: float
    cpu_s: float

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Cost:
        """Read it from the JSON of `radedit bench batch`."""
        stages = found["stages"]
        beside = sum(stages[name]["cpu_s_per_film"] for name in ("fetch", "masks", "store"))
        on_gpu = any(str(name).startswith("cuda") for name in found["load"]["devices"])
        return cls(stages["edit"]["busy_s_per_film" if on_gpu else "cpu_s_per_film"], beside)


def films_per_hour(cost: Cost, site: Site) -> dict[str, float]:
    """Give what each part would allow alone; the least of them is what there will be."""
    found = {}
    if site.devices:
        found["devices"] = site.devices / cost.edit_s
        found["cores"] = site.cores / cost.cpu_s
    else:
        found["cores"] = site.cores / (cost.edit_s + cost.cpu_s)
    if site.archive_mb_s is not None:
        found["archive"] = site.archive_mb_s / (site.film_mb + 2 * site.stored_mb)
    if site.answers:
        found["victims"] = site.victims_at_once / (site.answers * site.victim_s)
    return {name: 3600 * rate for name, rate in found.items()}


def bottleneck(rates: Mapping[str, float]) -> tuple[str, float]:
    """Name the part that bounds the others, and its films per hour."""
    name = min(rates, key=lambda part: rates[part])
    return name, rates[name]


def table(cost: Cost, sites: Sequence[tuple[str, Site]]) -> str:
    """Tell what each site could do."""
    parts = ("devices", "cores", "archive", "victims")
    lines = [
        f"Per film: {cost.edit_s:.3f} s of a device, {cost.cpu_s:.3f} CPU seconds beside it.",
        "",
        f"| site | {' | '.join(parts)} | films/h | bound by |",
        f"|---|{'---|' * len(parts)}---|---|",
    ]
    for name, site in sites:
        rates = films_per_hour(cost, site)
        bound, rate = bottleneck(rates)
        cells = [f"{rates[part]:.0f}" if part in rates else "" for part in parts]
        lines.append(f"| {name} | {' | '.join(cells)} | {rate:.0f} | {bound} |")
    return "\n".join(lines)
