"""Rows of sources that were connected while the service ran, and the values that they hold.

What intake knows a source's deliveries by is sealed under a key of intake, which every process has that takes
deliveries in; everything else under the row's own key. So a machine that only takes in can check who sends, and can
neither read nor change what becomes of it.
"""

from dataclasses import dataclass, field, replace

import msgspec

from service.archive.vault import open_value, seal_value
from service.crypto.fields import FieldSealer, Sealed
from service.domain.errors import TamperedError
from service.keys.intake import IntakeKeys
from storage.rows import SourceRow

_TABLE = "sources"
CONNECTING = "connecting"
LIVE = "live"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSecrets:
    """What a source's deliveries are known by; ``previous`` counts until then (microseconds).

    ``shown`` repeats what the row shows, so that one written by somebody without the key of intake lets nobody in.
    """

    secret: str = field(repr=False)
    previous: str = field(default="", repr=False)
    previous_until: int = 0
    shown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceDetails:
    """What understanding needs to know of a source.

    ``region`` and ``timezone`` are empty where they are the archive's; ``grace_minutes`` is 0 where it is intake's.
    ``carries`` is written as `service.domain.notice.Traffic` is, ``field_map`` as `service.sources.field_map` says;
    ``notice`` is the version of the notice under which the source went live.
    """

    region: str = ""
    timezone: str = ""
    grace_minutes: int = 0
    company_numbers: tuple[str, ...] = ()
    carries: tuple[str, ...] = ()
    field_map: dict[str, str] = field(default_factory=dict)
    notice: str = ""
    shown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceSeals:
    """Seals and opens what intake knows of sources."""

    keys: IntakeKeys

    def seal(self, secrets: SourceSecrets, row: SourceRow) -> bytes:
        """Return ``secrets`` as the ``for_intake`` column of ``row``."""
        plain = msgspec.json.encode(replace(secrets, shown=_shown_to_intake(row)))
        sealer = FieldSealer(self.keys.source_key())
        return bytes(
            sealer.seal(
                plain, table=_TABLE, row=row.id, column="for_intake", version=row.version
            )
        )

    def open(self, row: SourceRow) -> SourceSecrets:
        """Return what is sealed for intake in ``row``.

        Raises:
            TamperedError: The archive did not write it.
        """
        plain = FieldSealer(self.keys.source_key()).open(
            Sealed(row.for_intake),
            table=_TABLE,
            row=row.id,
            column="for_intake",
            version=row.version,
        )
        secrets = msgspec.json.decode(plain, type=SourceSecrets)
        if secrets.shown != _shown_to_intake(row):
            raise TamperedError(f"the row of {row.id} shows what was not sealed there")
        return secrets


def sealed_source(row: SourceRow, details: SourceDetails, sealer: FieldSealer) -> SourceRow:
    """Return ``row`` with its details sealed."""
    value = replace(details, shown=_shown(row))
    sealed = seal_value(sealer, value, table=_TABLE, row=row.id, version=row.version)
    return replace(row, sealed=sealed)


def details_of(row: SourceRow, sealer: FieldSealer) -> SourceDetails:
    """Return what is sealed in ``row``.

    Raises:
        TamperedError: Somebody who has no keys wrote it, or what it shows.
    """
    details = open_value(
        sealer, row.sealed, SourceDetails, table=_TABLE, row=row.id, version=row.version
    )
    if details.shown != _shown(row):
        raise TamperedError(f"the row of {row.id} shows what was not sealed there")
    return details


def _shown(row: SourceRow) -> tuple[str, ...]:
    return (row.name, row.kind, row.state, str(row.created_at), str(row.live_at or ""))


def _shown_to_intake(row: SourceRow) -> tuple[str, ...]:
    return (row.name, row.kind)
