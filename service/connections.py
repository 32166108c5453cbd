"""Builds the use cases of connecting sources over an open archive."""

from dataclasses import dataclass

from service.archive.deliveries import DeliveryOpener
from service.config import Config
from service.connecting.delivered import Deliveries
from service.connecting.noticing import NoticeWatch
from service.connecting.previewing import Previews
from service.connecting.replaying import Replays
from service.connecting.sources import Sources
from service.domain.notice import Notice
from service.wiring import Archive


@dataclass(frozen=True, slots=True)
class Connections:
    """What connects sources and shows what they deliver."""

    sources: Sources
    deliveries: Deliveries
    replays: Replays
    previews: Previews
    watch: NoticeWatch


def connections_of(archive: Archive) -> Connections:
    """Return the use cases."""
    store, ring = archive.stores.store, archive.vault.ring
    sources = Sources(
        store=store,
        vault=archive.vault,
        book=archive.book,
        intake_keys=ring.intake_keys,
        notice=notice_of(archive.config),
        timezone=archive.config.archive.timezone,
    )
    return Connections(
        sources=sources,
        deliveries=Deliveries(store, archive.understanding, sources),
        replays=Replays(store, archive.understanding),
        previews=Previews(store, DeliveryOpener(ring, archive.stores.keys), sources),
        watch=NoticeWatch(store, sources),
    )


def notice_of(config: Config) -> Notice:
    """Return the notice of the settings."""
    notice = config.notice
    return Notice(notice.version, notice.valid_from, frozenset(notice.covers))
