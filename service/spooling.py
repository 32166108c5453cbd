"""Looking into the directories in which sources leave files."""

from collections.abc import Callable, Iterator
from datetime import datetime

from service.archive.receive import Kept
from service.sources.kinds import KINDS
from service.wiring import Archive
from service.worker.files import FileIntake
from service.worker.housekeeping import Chore
from service.worker.spool import LOOK_EVERY, Spool


def spools_of(
    archive: Archive, clock: Callable[[], datetime], offer: Callable[[Kept], None] | None
) -> Iterator[Chore]:
    """Yield a chore for each directory in which a source leaves files; ``offer`` is given what is kept."""
    limit = archive.config.intake.max_delivery_bytes
    for source in archive.config.sources:
        recognise = KINDS[source.kind].files
        if source.spool is not None and recognise is not None:
            files = FileIntake(archive.intake, source.name, recognise, limit)
            spool = Spool(source.spool, files, clock, offer)
            yield Chore(f"spool {source.name}", LOOK_EVERY, spool.look)
