"""Figures of a server for Prometheus: requests by route, jobs by state. No ids, no names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from radedit.lib.jobs.model import State

_BUCKETS: Final = (0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
CONTENT_TYPE: Final = CONTENT_TYPE_LATEST


class Metrics:
    """The figures of one server.

    Parameters
    ----------
    jobs : counts jobs by state; asked at each look
    """

    def __init__(self, jobs: Callable[[], Mapping[State, int]]) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "radedit_requests",
            "Requests answered; status 0: the client left before",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "radedit_request_seconds",
            "Time to the end of the answer",
            ("route",),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self.streams = Gauge(
            "radedit_event_streams", "Clients that follow a job", registry=self._registry
        )
        self._registry.register(_Jobs(jobs))
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        known = method if method in _METHODS else "other"
        self._requests.labels(known, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """Give all figures in Prometheus' text format."""
        return generate_latest(self._registry)


class _Jobs(Collector):
    def __init__(self, count: Callable[[], Mapping[State, int]]) -> None:
        self._count = count

    def describe(self) -> list[Metric]:
        return []  # nothing is asked of the queue when this is registered

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily("radedit_jobs", "Jobs by state", labels=("state",))
        for state, number in self._count().items():
            family.add_metric((state,), number)
        yield family
