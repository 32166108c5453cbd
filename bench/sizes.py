"""How much is measured: enough to tell, for hours, or just enough to see that it runs."""

from dataclasses import dataclass
from typing import Final

MIB: Final = 1 << 20
GIB: Final = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Numbers of rounds, of things and of bytes."""

    rounds: int
    seconds: float
    deliveries: int
    known_customers: int
    imported_customers: int
    upload_bytes: int
    recording_bytes: int
    memory_bytes: int
    verified_recordings: int
    verified_bytes: int
    starts: int
    contacts_few: int
    contacts_many: int
    contacts_each: int
    lookups: int
    lookup_bound: float
    mails: int
    storm_seconds: float
    storm_recording_bytes: int


NORMAL: Final = Sizes(
    rounds=5,
    seconds=2.0,
    deliveries=4_000,
    known_customers=10_000,
    imported_customers=100_000,
    upload_bytes=512 * MIB,
    recording_bytes=GIB,
    memory_bytes=2 * GIB,
    verified_recordings=256,
    verified_bytes=8 * MIB,
    starts=7,
    contacts_few=10_000,
    contacts_many=1_000_000,
    contacts_each=100,
    lookups=400,
    lookup_bound=1.5,
    mails=2_000,
    storm_seconds=180.0,
    storm_recording_bytes=5 * MIB,
)

LONG: Final = Sizes(
    rounds=9,
    seconds=5.0,
    deliveries=20_000,
    known_customers=100_000,
    imported_customers=100_000,
    upload_bytes=GIB,
    recording_bytes=GIB,
    memory_bytes=2 * GIB,
    verified_recordings=512,
    verified_bytes=8 * MIB,
    starts=15,
    contacts_few=10_000,
    contacts_many=10_000_000,
    contacts_each=100,
    lookups=1_000,
    lookup_bound=2.0,
    mails=10_000,
    storm_seconds=3600.0,
    storm_recording_bytes=5 * MIB,
)

TINY: Final = Sizes(
    rounds=1,
    seconds=0.1,
    deliveries=20,
    known_customers=20,
    imported_customers=50,
    upload_bytes=3 * MIB,
    recording_bytes=3 * MIB,
    memory_bytes=3 * MIB,
    verified_recordings=2,
    verified_bytes=MIB,
    starts=1,
    contacts_few=200,
    contacts_many=400,
    contacts_each=20,
    lookups=5,
    lookup_bound=1.5,
    mails=20,
    storm_seconds=2.0,
    storm_recording_bytes=2 * MIB,
)
