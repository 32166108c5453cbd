"""What the service counts of its requests, and how numbers are written for Prometheus (text format, version 0.0.4)."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from service.http.routes import Counted, Route

OUTCOME: Final = web.RequestKey("outcome", str)
"""How a delivery or an upload ended, where its status does not say so."""
DUPLICATE: Final = "duplicate"
BROKEN_OFF: Final = 0
"""In place of a status: the client had gone before it could be answered."""

BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
_OUTCOMES: Final = (
    "kept",
    DUPLICATE,
    "limited",
    "overloaded",
    "refused",
    "failed",
    "broken_off",
)
_MULTIPLE_CHOICES, _TOO_MANY, _ERROR = 300, 429, 500

Sample = tuple[str, Sequence[tuple[str, str]], float]
"""What is added to the name, labels, number."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: its name without the program's, ``gauge``, ``counter`` or ``histogram``, what it is, its samples."""

    name: str
    kind: str
    meaning: str
    samples: Sequence[Sample]


def gauge(name: str, meaning: str, number: float) -> Metric:
    """Return a metric of one number that rises and falls."""
    return Metric(name, "gauge", meaning, [("", (), number)])


def counter(
    name: str, meaning: str, counted: Iterable[tuple[Sequence[tuple[str, str]], float]]
) -> Metric:
    """Return a metric that only rises, until the service is started anew."""
    return Metric(
        name, "counter", meaning, [("", labels, number) for labels, number in counted]
    )


def write_metrics(metrics: Iterable[Metric]) -> str:
    """Return the metrics as Prometheus reads them. Names, labels and meanings are ours and need no escaping."""
    return "".join(line for metric in metrics for line in _lines(metric))


def _lines(metric: Metric) -> Iterator[str]:
    name = f"taltio_{metric.name}"
    yield f"# HELP {name} {metric.meaning}\n# TYPE {name} {metric.kind}\n"
    for suffix, labels, number in metric.samples:
        told = ",".join(f'{label}="{value}"' for label, value in labels)
        yield (
            f"{name}{suffix}{{{told}}} {number:.17g}\n"
            if told
            else f"{name}{suffix} {number:.17g}\n"
        )


@dataclass(slots=True)
class _Latency:
    """How long the requests of one route took."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    seconds: float = 0.0


class Meters:
    """Counts requests by route and status, and deliveries and uploads by outcome.

    A route is told by its pattern, never by an address that was asked for.
    """

    def __init__(self) -> None:
        self.received_bytes = self.sent_bytes = 0
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._latencies: dict[tuple[str, str], _Latency] = {}
        self._outcomes = {counted: dict.fromkeys(_OUTCOMES, 0) for counted in Counted}

    def observe(
        self, route: Route | None, status: int, seconds: float, *, outcome: str | None
    ) -> None:
        """Count a request that has been answered with ``status``, or was ``BROKEN_OFF``."""
        key = ("", "") if route is None else (route.method, route.path)
        self._requests[(*key, status)] += 1
        latency = self._latencies.get(key)
        if latency is None:
            latency = self._latencies[key] = _Latency()
        latency.counts[bisect_left(BOUNDS, seconds)] += 1
        latency.seconds += seconds
        if route is not None and route.counted is not None:
            self._outcomes[route.counted][outcome or _outcome_of(status)] += 1

    def metrics(self) -> Iterator[Metric]:
        """Go through what was counted since the start."""
        for counted, meaning in (
            (
                Counted.DELIVERY,
                "Contacts and webhooks that were delivered, by what became of them.",
            ),
            (Counted.UPLOAD, "Recordings that were sent, by what became of them."),
        ):
            numbers = self._outcomes[counted].items()
            yield counter(
                counted.value, meaning, [((("outcome", name),), n) for name, n in numbers]
            )
        received = "Bytes that came in, everything."
        yield counter("received_bytes_total", received, [((), self.received_bytes)])
        sent = "Bytes of answers that were sent, without their heads."
        yield counter("sent_bytes_total", sent, [((), self.sent_bytes)])
        yield counter(
            "requests_total",
            "Requests by route and status; status 0: the client had gone.",
            [
                ((("method", method), ("path", path), ("status", str(status))), number)
                for (method, path, status), number in sorted(self._requests.items())
            ],
        )
        yield Metric(
            "request_seconds",
            "histogram",
            "How long requests took, uploads and what streams included.",
            [
                sample
                for key, latency in sorted(self._latencies.items())
                for sample in _buckets(key, latency)
            ],
        )


METERS: Final = web.AppKey("meters", Meters)


def _buckets(key: tuple[str, str], latency: _Latency) -> Iterator[Sample]:
    labels, so_far = (("method", key[0]), ("path", key[1])), 0
    for bound, count in zip((*BOUNDS, float("inf")), latency.counts, strict=True):
        so_far += count
        told = "+Inf" if bound == float("inf") else f"{bound:g}"
        yield "_bucket", (*labels, ("le", told)), so_far
    yield "_sum", labels, latency.seconds
    yield "_count", labels, so_far


def _outcome_of(status: int) -> str:
    if status == BROKEN_OFF:
        return "broken_off"
    if status < _MULTIPLE_CHOICES:
        return "kept"
    if status == _TOO_MANY:
        return "limited"
    if status < _ERROR:
        return "refused"
    return "failed"
