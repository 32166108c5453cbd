"""``taltio sources read-listing NAME --since DAY``."""

import argparse
from datetime import UTC, date, datetime
from typing import Final

from service.config import Config
from service.databases import Alone
from service.domain.errors import InvalidInputError
from service.fetching import fetching_of
from service.listings import look_of
from service.wiring import opened_archive

_OUTCOMES: Final = ("kept", "duplicate", "missing", "unreadable", "cut_short")


async def read_listing(config: Config, options: argparse.Namespace) -> int:
    """Read what a source lists of the days since one, beside the running service; say what became of it."""
    source = next((one for one in config.sources if one.name == options.name), None)
    if source is None:
        raise InvalidInputError(f"no [[sources]] is called {options.name}")
    async with opened_archive(config) as archive:
        await archive.book.refresh()
        rules = fetching_of(archive).rules[source.name]
        look = look_of(archive, source, rules, clock=_now, turn=Alone())
        if look is None:
            raise InvalidInputError(f"{source.name} has no listing in the settings")
        look.since = _day(options.since, today=_now().astimezone(look.timezone).date())
        await look.look()
    print(*_OUTCOMES, sep="\t")
    print(*(look.outcomes[name] for name in _OUTCOMES), sep="\t")
    return int(bool(look.outcomes["unreadable"] or look.outcomes["cut_short"]))


def _day(text: str, *, today: date) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise InvalidInputError(f"{text} is no day such as 2026-11-22") from None
    if day > today:
        raise InvalidInputError(f"{text} has not come yet")
    return day


def _now() -> datetime:
    return datetime.now(UTC)
