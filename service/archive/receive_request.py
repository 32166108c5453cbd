"""Receiving a request of a system that has a format of its own: kept as it came, and once."""

import hashlib
from datetime import datetime

from service.archive.receive import Intake, Kept, keep_delivery
from service.sources.requests import ReceivedRequest


async def keep_request(
    intake: Intake,
    request: ReceivedRequest,
    *,
    source: str,
    now: datetime,
    remarks: tuple[str, ...] = (),
) -> Kept:
    """Keep what ``source`` asked. On return it survives a power cut.

    It has no identification of its own: whoever repeats it sends the same, but for some headers.

    Raises:
        storage.errors.StorageError: Nothing was kept, unless it says otherwise.
    """
    repeated = f"{request.target}\n".encode() + request.body
    return await keep_delivery(
        intake,
        source=source,
        kind="request",
        ident=hashlib.sha256(repeated).hexdigest(),
        compared=repeated,
        body=request.encode(),
        now=now,
        remarks=remarks,
    )
