"""What understanding one delivery costs, by kind of source, before anything of it is stored."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from bench.results import Result
from bench.sizes import Sizes
from bench.source_deliveries import DELIVERIES, signed_vcon
from service.sources.events import SourceRule
from service.sources.kinds import KINDS
from service.sources.vcon.contact import understand_vcon

_NOW: Final = datetime(2026, 11, 22, 12, tzinfo=UTC)
_OWN: Final = "api"
_MOST_VCON_US: Final = 50_000
"""At the most for half a megabyte: as fast as one sender delivers it."""
_MOST_US: Final = 5_000
"""At the most: 200 deliveries a second on one core, of calls and mails that come 2,000 an hour."""


def understood(kind: str, sizes: Sizes, _: Path) -> Result:
    """Measure the adapters of ``kind``, each delivery of it once a turn, beside that of the archive's own JSON."""
    rounds = [(_cost_us(kind, sizes), _cost_us(_OWN, sizes)) for _ in range(sizes.rounds + 1)]
    ours, reference = (sorted(costs) for costs in zip(*rounds[1:], strict=True))
    figure = ours[len(ours) // 2]
    size = sum(map(len, DELIVERIES[kind]().values()))
    return Result(
        what=f"a delivery of {kind} understood, {size / 1024:.1f} KiB",
        against="the archive's own contact JSON",
        ours=figure,
        reference=reference[len(reference) // 2],
        unit="µs",
        figure=figure,
        figure_unit="µs",
        bound=_MOST_US,
        is_ceiling=True,
        spread=(ours[0], ours[-1]),
    )


def vcon_understood(sizes: Sizes, _: Path) -> Result:
    """Measure a signed vCon with a recording in it, beside the archive's own JSON; its bytes are no row's."""
    body, rule = signed_vcon()

    def understand() -> None:
        understand_vcon(body, rule, received_at=_NOW, now=_NOW)

    rounds = [
        (_call_us(understand, sizes), _cost_us(_OWN, sizes)) for _ in range(sizes.rounds + 1)
    ]
    ours, reference = (sorted(costs) for costs in zip(*rounds[1:], strict=True))
    figure = ours[len(ours) // 2]
    return Result(
        what=f"a signed vCon understood, {len(body) / 1024:.1f} KiB",
        against="the archive's own contact JSON",
        ours=figure,
        reference=reference[len(reference) // 2],
        unit="µs",
        figure=figure,
        figure_unit="µs",
        bound=_MOST_VCON_US,
        is_ceiling=True,
        spread=(ours[0], ours[-1]),
    )


def _call_us(call: Callable[[], None], sizes: Sizes) -> float:
    turns, begun = 0, time.process_time()
    while (spent := time.process_time() - begun) < sizes.seconds:
        call()
        turns += 1
    return spent / turns * 1e6


def _cost_us(kind: str, sizes: Sizes) -> float:
    deliveries = DELIVERIES[kind]()
    adapters = [(KINDS[kind].adapters[name], body) for name, body in deliveries.items()]
    rule, turns = (
        SourceRule(stored_recordings="https://pbx.example.org/ari/recordings/stored"),
        0,
    )
    begun = time.process_time()
    while (spent := time.process_time() - begun) < sizes.seconds:
        for adapter, body in adapters:
            adapter(body, rule, _NOW)
        turns += 1
    return spent / turns / len(adapters) * 1e6


ROWS: Final = {
    **{f"adapter-{kind}": partial(understood, kind) for kind in DELIVERIES if kind != _OWN},
    "adapter-vcon": vcon_understood,
}
"""A row for each kind."""
