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
    is_query_signed: bool = True,
) -> Kept:
    """Keep what ``source`` asked. On return it survives a power cut.

    It has no identification of its own: whoever repeats it sends the same, but for some headers, and for the query
    where nobody vouches for that.

    Raises:
        storage.errors.StorageError: Nothing was kept, unless it says otherwise.
    """
    target = request.target if is_query_signed else request.target.partition("?")[0]
    repeated = f"{target}\n".encode() + request.body
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
