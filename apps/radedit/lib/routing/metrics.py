"""A route in Prometheus' words, counted from the journal at each scrape."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from radedit_dicom.router.desk import Desk

_GAUGES = {
    "unsorted for s": (
        "radedit_route_oldest_unsorted_seconds",
        "Age of the oldest unsorted object",
    ),
    "free bytes": ("radedit_route_free_bytes", "Free bytes on the disk of the spool"),
    "open studies": ("radedit_route_open_studies", "Studies that are not complete yet"),
    "set apart": ("radedit_route_set_apart", "Objects in quarantine that are no instance's row"),
}


class _Counted(Collector):
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def collect(self) -> Iterable[Metric]:
        status = self._desk.status()
        for name, what in (("objects", "Objects"), ("jobs", "Jobs")):
            family = GaugeMetricFamily(
                f"radedit_route_{name}", f"{what} by state", labels=["state"]
            )
            for state, count in status[name].items():
                family.add_metric([state], count)
            yield family
        deliveries = GaugeMetricFamily(
            "radedit_route_deliveries", "Deliveries by state", labels=["destination", "state"]
        )
        ages = GaugeMetricFamily(
            "radedit_route_oldest_waiting_seconds",
            "Age of the oldest unsent delivery",
            labels=["destination"],
        )
        for destination, states in status["destinations"].items():
            ages.add_metric([destination], states.pop("oldest waiting s"))
            for state, count in states.items():
                deliveries.add_metric([destination, state], count)
        yield deliveries
        yield ages
        refused = GaugeMetricFamily("radedit_route_refused", "Objects refused since the start")
        refused.add_metric([], sum(status["refused"].values()))
        yield refused
        broken = GaugeMetricFamily("radedit_route_rules_refused", "1: the file was refused")
        broken.add_metric([], float(bool(status["rules refused"])))
        yield broken
        for key, (name, words) in _GAUGES.items():
            gauge = GaugeMetricFamily(name, words)
            gauge.add_metric([], status[key])
            yield gauge


def exposition(desk: Desk) -> str:
    """Give all metrics in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Counted(desk))
    return generate_latest(registry).decode()
