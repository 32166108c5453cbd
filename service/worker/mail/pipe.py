"""The words that parent and child exchange about mails, beside those of `service.worker.media.pipe`.

For each mail the parent sends an order; the child asks for the bytes, tells what it reads, and ends with ``END``. Then
comes the next order, or the end of the conversation.
"""

from typing import Final

HEADERS: Final = b"H"
"""A ``ReadMail`` as JSON, of which only the headers have been read. Comes once or, of a journal report, twice."""
MAIL: Final = b"M"
"""The whole ``ReadMail`` as JSON. The bytes of its parts follow, in their order."""
PART: Final = b"P"
"""The next bytes of a part. A part ends when all of the bytes that were announced have come."""

MAX_PAYLOAD_BYTES: Final = 4 << 20
"""What is told of a mail is not longer; nor is a piece of a part."""
PIECE_BYTES: Final = 256 << 10
LOOKUP: Final = b"L"
"""A name and a type as JSON, for DNS. The answer is a JSON list of records; null: DNS does not answer."""
VERDICTS: Final = b"V"
"""``Verdicts`` as JSON."""
