"""What the pages of sources ask of the archive, and what they show."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from typing import Final, Protocol

from aiohttp import web

from service.archive.source_book import KnownSource
from service.connecting.delivered import Delivered, Deliveries
from service.connecting.previewing import Preview, Previews
from service.connecting.replaying import Replays, Scope
from service.connecting.settings import parse_details
from service.connecting.sources import NewSecret, Sources
from service.domain.actor import Actor
from service.domain.errors import ContradictionError
from service.domain.notice import ALL_TRAFFIC, Traffic
from service.sources.kinds import KINDS, Sender
from storage.rows import ReplayRow


class Refused(Protocol):
    """What was refused in the name of a source since this process began: how often, when last, why (a code)."""

    @property
    def count(self) -> int:
        """How often."""
        ...

    @property
    def last_at(self) -> datetime | None:
        """When last."""
        ...

    @property
    def reason(self) -> str:
        """Why then."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLine:
    """A source in the list."""

    source: KnownSource
    last_at: datetime | None
    today: int
    failed: int
    uncovered: tuple[Traffic, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePage:
    """A source with everything that its page shows."""

    source: KnownSource
    uncovered: tuple[Traffic, ...]
    deliveries: Sequence[Delivered]
    trials: int
    failed: int
    replay: ReplayRow | None
    refused: Refused

    @property
    def is_mappable(self) -> bool:
        """Whether its JSON can be read by a field map."""
        return self.source.row is not None and self.is_signed

    @property
    def is_signed(self) -> bool:
        """Whether it signs what it sends."""
        return KINDS[self.source.kind].sender is Sender.SIGNATURE


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceDesk:
    """The use cases behind the pages of sources. ``address`` is where sources reach the archive."""

    sources: Sources
    deliveries: Deliveries
    replays: Replays
    previews: Previews
    refused: Callable[[str], Refused]
    address: str
    default_region: str

    async def list(self, *, actor: Actor, now: datetime) -> Sequence[SourceLine]:
        """Return every source, by name.

        Raises:
            NotPermittedError: The actor does not manage sources.
        """
        zone = self.sources.timezone
        midnight = datetime.combine(now.astimezone(zone).date(), time(), zone)
        return [
            SourceLine(
                source=source,
                last_at=await self.deliveries.last_at(source.name),
                today=await self.deliveries.count(source.name, since=midnight),
                failed=await self.deliveries.count(source.name, states=("failed",)),
                uncovered=self.sources.find_uncovered(source, now=now),
            )
            for source in await self.sources.find_all(actor=actor)
        ]

    async def page(self, name: str, *, actor: Actor, now: datetime) -> SourcePage:
        """Return a source.

        Raises:
            NotPermittedError, NotFoundError: The actor does not manage sources, or there is none.
        """
        source = await self.sources.get(name, actor=actor)
        return SourcePage(
            source=source,
            uncovered=self.sources.find_uncovered(source, now=now),
            deliveries=await self.deliveries.find(name, actor=actor, now=now),
            trials=await self.deliveries.count(name, states=("trial",)),
            failed=await self.deliveries.count(name, states=("failed", "waiting")),
            replay=await self.replays.find(name),
            refused=self.refused(name),
        )

    async def add(self, form: Mapping[str, str], *, actor: Actor, now: datetime) -> NewSecret:
        """Add the source of a form.

        Raises:
            InvalidInputError, ContradictionError: Something in the form cannot be.
        """
        kind = form.get("kind", "")
        details = parse_details(
            kind,
            default_region=self.default_region,
            carries=[str(one) for one in ALL_TRAFFIC if form.get(field_of(one)) == "yes"],
            company_numbers=[
                number.strip()
                for number in form.get("company_numbers", "").split(",")
                if number.strip()
            ],
        )
        name = form.get("name", "").strip() or kind
        return await self.sources.add(name, kind, details, actor=actor, now=now)

    async def replay(self, name: str, which: str, *, actor: Actor, now: datetime) -> None:
        """Understand again one delivery (its id), or those of a scope, which a job does.

        Raises:
            NotFoundError: There is no such source, or no such delivery of it.
            ContradictionError: It is not live, or replays already.
        """
        source = await self.sources.get(name, actor=actor)
        if source.is_connecting:
            raise ContradictionError("what a source delivers becomes contacts when it is live")
        if which in set(Scope):
            await self.replays.begin(name, Scope(which), actor=actor, now=now)
        else:
            await self.replays.replay_one(name, which, actor=actor, now=now)

    async def go_live(
        self, name: str, *, with_trials: bool, actor: Actor, now: datetime
    ) -> None:
        """Make a source live, and perhaps contacts of what it delivered before.

        Raises:
            NotFoundError: There is no such source.
            NotCoveredError: The notice does not cover it.
        """
        await self.sources.go_live(name, actor=actor, now=now)
        if with_trials:
            await self.replays.begin(name, Scope.TRIAL, actor=actor, now=now)

    async def preview(
        self, name: str, texts: Mapping[str, str], *, actor: Actor, now: datetime
    ) -> Preview | None:
        """Return what the rules make of the newest delivery; None while there is none."""
        return await self.previews.preview(name, texts, delivery_id=None, actor=actor, now=now)


def field_of(traffic: Traffic) -> str:
    """Return the name of the box in a form that says that a source carries ``traffic``."""
    return f"carries_{traffic.channel}_{traffic.direction}"


SOURCES: Final = web.AppKey("sources", SourceDesk)
