"""What reads the listing of a Chatwoot on loopback, as tests want it."""

from datetime import UTC, datetime, timedelta

from service.databases import Alone
from service.worker.listing.client import ListingAddress
from service.worker.listing.look import Look, LookLimits
from tests.chatwoot import TOKEN, message
from tests.worker.test_fetching import rules

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
YESTERDAY = datetime(2026, 11, 21, 9, tzinfo=UTC)


def four_conversations():
    """Return three conversations of yesterday and one of today."""
    return {
        112: [message(n, YESTERDAY + timedelta(minutes=n), f"viesti {n}") for n in (1, 2, 3)],
        113: [
            message(20, YESTERDAY, "kukaan ei kertonut"),
            message(21, YESTERDAY, "ja", kind=1),
        ],
        114: [message(30, YESTERDAY, "korjattu")],
        115: [message(40, NOW - timedelta(hours=1), "tänään")],
    }


def looking(archive, server, *, clock=lambda: NOW, offered=None, turn=None, **limits):
    """Return what looks at ``server``, and what it keeps is understood as it comes."""
    return Look(
        source="chat",
        address=ListingAddress(
            url=server.origin,
            account=3,
            token=TOKEN,
            rules=rules(server.origin),
            pause=timedelta(),
            answer_within=timedelta(seconds=20),
        ),
        intake=archive.intake,
        reconciling=archive.reconciling,
        rule=lambda: archive.interpreter.rules["chat"],
        timezone=archive.config.archive.timezone,
        clock=clock,
        offer=None if offered is None else offered.append,
        turn=turn or Alone(),
        limits=LookLimits(**limits),
    )
