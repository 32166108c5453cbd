"""What a source's adapter is given, and what it makes of a delivery."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from service.domain.contact import ContactFacts
from service.domain.fetching import FETCH
from service.sources.vcon.rule import VconRule

HELSINKI: Final = ZoneInfo("Europe/Helsinki")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRule:
    """What understanding needs to know of a source.

    ``region`` (ISO 3166) and ``timezone`` are those of numbers and times that do not tell theirs; ``grace`` is how long
    an announced recording is expected. ``company_addresses`` are the company's own; a domain begins with ``@``.
    ``columns`` are those of the source's CSV, where they are not the usual ones; ``names`` are ours and those
    that the source has in their place, where it does not have the usual ones.
    ``account`` is the number of the only account there that it is; 0 where that is not known.
    ``checks_mail``: DNS may be asked about the signatures of mails.
    ``fetched_as`` is the kind of the jobs that fetch its recordings. Those that are named without a URL are below
    ``stored_recordings``; without it they are not fetched. ``vcon`` is what is asked of vCons.
    """

    region: str = "FI"
    timezone: ZoneInfo = HELSINKI
    grace: timedelta = timedelta(hours=1)
    company_numbers: frozenset[str] = frozenset()
    columns: tuple[str, ...] = ()
    names: tuple[tuple[str, str], ...] = ()
    company_addresses: frozenset[str] = frozenset()
    checks_mail: bool = False
    fetched_as: str = FETCH
    stored_recordings: str = ""
    vcon: VconRule = field(default_factory=VconRule)
    account: int = 0


@dataclass(frozen=True, slots=True)
class Understood:
    """What one delivery tells: facts of contacts, and what should be looked at (stable codes)."""

    contacts: tuple[ContactFacts, ...]
    remarks: tuple[str, ...] = ()


Adapter = Callable[[bytes, SourceRule, datetime], Understood]
"""A source's pure function: what was delivered, the source's rules and the time of receipt in; what they tell out.

Raises `InvalidInputError` for what it cannot read.
"""
