"""The words that parent and child exchange over one socket: small, framed, bounded.

The child sends frames: one byte that says what it is, the length of the payload (4 bytes,
big-endian), the payload. The parent first sends its order as JSON, then only answers to ``READ``;
each is a length and that many bytes.
"""

import struct
from typing import Final

READ: Final = b"R"
"""8 bytes offset, 4 bytes length: asks for bytes of the recording."""
FACTS: Final = b"F"
"""What ``encode_facts`` gives. Comes once."""
PEAKS: Final = b"P"
"""What ``encode_peaks`` gives. Comes at most once."""
BEGIN: Final = b"B"
"""8 bytes: the size of the rendition that follows. Comes at most once."""
DATA: Final = b"D"
"""The next bytes of the rendition."""
END: Final = b"E"
"""Everything was sent."""

FRAME: Final = struct.Struct(">cI")
REQUEST: Final = struct.Struct(">QI")
ANSWER: Final = struct.Struct(">I")
SIZE: Final = struct.Struct(">Q")

MAX_READ_BYTES: Final = 256 * 1024
MAX_PAYLOAD_BYTES: Final = 256 * 1024
