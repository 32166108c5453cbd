"""Builds what reads the listings of sources, and compares them with what arrived."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

from service.archive.receive import Kept
from service.config import SourceConfig
from service.config.roles import ProcessRole
from service.config.secret_files import read_secret
from service.databases import Alone
from service.domain.errors import InvalidInputError
from service.sources.events import SourceRule
from service.wiring import Archive
from service.worker.fetching.rules import FetchRules
from service.worker.listing.client import ListingAddress
from service.worker.listing.look import Look
from service.worker.outside import Asking
from storage.ports import Turn

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{8,256}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Listings:
    """What reads each listing, and how much of them became what."""

    asking: tuple[Asking, ...] = ()
    outcomes: Counter[str] = field(default_factory=Counter)


def listings_of(
    archive: Archive,
    role: ProcessRole,
    rules: Mapping[str, FetchRules],
    *,
    clock: Callable[[], datetime],
    offer: Callable[[Kept], None] | None,
) -> Listings:
    """Return what reads the listings that are configured: of several workers, the one whose turn it is does.

    ``rules`` are those by which each source is reached, by its name; ``offer`` is given what is kept.

    Raises:
        InvalidInputError: A file that the configuration names cannot be used; the detail names it, and nothing in it.
    """
    outcomes = Counter[str]()
    asking = []
    turn = Alone() if role is ProcessRole.ALL else archive.stores.working
    for source in archive.config.sources:
        look = look_of(archive, source, rules[source.name], clock=clock, turn=turn)
        if look is None:
            continue
        look.offer, look.outcomes = offer, outcomes
        asking.append(Asking(f"listing {source.name}", look.look))
        look.on_read = asking[-1].note_answer
    return Listings(tuple(asking), outcomes)


def look_of(
    archive: Archive,
    source: SourceConfig,
    rules: FetchRules,
    *,
    clock: Callable[[], datetime],
    turn: Turn,
) -> Look | None:
    """Return what reads the listing of ``source``; None where none is configured.

    Raises:
        InvalidInputError: The file of the token cannot be used; the detail names it, and nothing in it.
    """
    address = _address(source, rules)
    if address is None:
        return None
    return Look(
        source=source.name,
        address=address,
        intake=archive.intake,
        reconciling=archive.reconciling,
        rule=partial(_rule, archive, source.name),
        timezone=archive.config.archive.timezone,
        clock=clock,
        offer=None,
        turn=turn,
    )


def _rule(archive: Archive, source: str) -> SourceRule:
    return archive.interpreter.rules.get(source) or SourceRule()


def _address(source: SourceConfig, rules: FetchRules) -> ListingAddress | None:
    if source.listing is None or source.listing_token_file is None:
        return None
    return ListingAddress(
        url=source.listing,
        account=source.listing_account,
        token=_token(source.listing_token_file),
        rules=rules,
    )


def _token(file: Path) -> str:
    token = read_secret("listing_token_file", file).removesuffix("\n").removesuffix("\r")
    if not _TOKEN.fullmatch(token):
        raise InvalidInputError(
            f"[[sources]] listing_token_file: {file} is not one line with an access token"
        )
    return token
