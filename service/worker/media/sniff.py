"""Which decoder may look at a recording, decided from its first bytes; names are only a hint."""

from dataclasses import dataclass, field

from service.worker.media.pcap import is_pcap
from service.worker.media.wave import ReadAt, is_wave

_HEAD_BYTES = 64
_ID3_BYTES = 10
_MAX_ID3_TAGS = 16
_MAX_CHANNELS = 8
_MAX_RATE_HZ = 192_000
_TELEPHONE_HZ = 8000


@dataclass(frozen=True, slots=True)
class Format:
    """A container, the one demuxer that may read it, and where its first byte is.

    ``is_headerless`` marks bare samples or frames, which only the sender's word describes.
    """

    container: str
    demuxer: str
    start: int = 0
    options: dict[str, str] = field(default_factory=dict)
    is_headerless: bool = False


def find_format(
    read_at: ReadAt, *, size_bytes: int, content_type: str = "", name: str = ""
) -> Format | None:
    """Return the format of a recording, or None when it is none of those we decode.

    What the bytes say wins. ``content_type`` and the ending of ``name`` are asked only where
    the bytes have no mark of their own: bare G.711, G.722, GSM and linear samples.
    """
    start = _after_id3(read_at, size_bytes)
    marked = _marked_format(read_at(start, _HEAD_BYTES), start)
    return marked or _hinted_format(content_type, name, start)


def _after_id3(read_at: ReadAt, size_bytes: int) -> int:
    """Return where the sound starts behind ID3v2 tags (id3.org, ID3v2.4.0 structure, 3.1).

    Tags are skipped, not read: they can hold pictures of hundreds of megabytes.
    """
    start = 0
    for _ in range(_MAX_ID3_TAGS):
        head = read_at(start, _ID3_BYTES)
        if len(head) < _ID3_BYTES or head[:3] != b"ID3" or max(head[6:10]) > 0x7F:  # noqa: PLR2004  # 7-bit bytes
            break
        length = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        has_footer = bool(head[5] & 0x10)
        start += _ID3_BYTES + length + (_ID3_BYTES if has_footer else 0)
        if start >= size_bytes:
            break
    return start


def _marked_format(head: bytes, start: int) -> Format | None:
    if is_wave(head):
        return Format("wav", "wav", start)
    for mark, container, demuxer in (
        (b"OggS", "ogg", "ogg"),
        (b"fLaC", "flac", "flac"),
        (b"#!AMR-WB\n", "amr", "amr"),
        (b"#!AMR\n", "amr", "amr"),
        (b"\x1a\x45\xdf\xa3", "webm", "matroska"),
        (b".snd", "au", "au"),
    ):
        if head.startswith(mark):
            return Format(container, demuxer, start)
    if is_pcap(head):
        # The sound in the packets is put together as samples (``service.worker.media.rtp``).
        return Format("pcap", "wav", start)
    if head[4:8] == b"ftyp":
        return Format("mp4", "mp4", start)
    return _mpeg_format(head, start)


def _mpeg_format(head: bytes, start: int) -> Format | None:
    """Recognise an MPEG audio frame header (ISO/IEC 11172-3, 2.4.1.3) or ADTS (13818-7, 6.2)."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:  # noqa: PLR2004  # the sync word
        return None
    layer = head[1] >> 1 & 3
    if layer == 0 and head[1] & 0xF0 == 0xF0:  # noqa: PLR2004  # ADTS has a 12-bit sync word
        return Format("aac", "aac", start)
    has_version = head[1] >> 3 & 3 != 1
    has_bit_rate = head[2] >> 4 != 15  # noqa: PLR2004  # all ones is forbidden
    has_sample_rate = head[2] >> 2 & 3 != 3  # noqa: PLR2004  # reserved
    if layer and has_version and has_bit_rate and has_sample_rate:
        return Format("mp3", "mp3", start)
    return None


_HINTS = {
    "audio/basic": "mulaw",
    "audio/pcmu": "mulaw",
    "audio/x-mulaw": "mulaw",
    "audio/x-ulaw": "mulaw",
    "audio/ulaw": "mulaw",
    "audio/pcma": "alaw",
    "audio/x-alaw": "alaw",
    "audio/alaw": "alaw",
    "audio/g722": "g722",
    "audio/gsm": "gsm",
    "audio/x-gsm": "gsm",
    "audio/l16": "s16be",
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
    ".ul": "mulaw",
    ".ulaw": "mulaw",
    ".pcmu": "mulaw",
    ".al": "alaw",
    ".alaw": "alaw",
    ".pcma": "alaw",
    ".g722": "g722",
    ".gsm": "gsm",
    ".sln": "s16le",
    ".mp3": "mp3",
}
_TAKES_RATE_AND_CHANNELS = frozenset({"mulaw", "alaw", "s16be", "s16le"})


def _hinted_format(content_type: str, name: str, start: int) -> Format | None:
    essence, *rest = content_type.split(";")
    _, dot, ending = name.rpartition(".")
    demuxer = _HINTS.get(essence.strip().lower()) or _HINTS.get((dot + ending).lower())
    if demuxer is None:
        return None
    if demuxer == "mp3":
        return Format("mp3", "mp3", start)
    options = {}
    if demuxer in _TAKES_RATE_AND_CHANNELS:
        rate = _parameter(rest, "rate", default=_TELEPHONE_HZ, most=_MAX_RATE_HZ)
        channels = _parameter(rest, "channels", default=1, most=_MAX_CHANNELS)
        options = {"sample_rate": str(rate), "ch_layout": f"{channels}c"}
    return Format("raw", demuxer, start, options, is_headerless=True)


def _parameter(parameters: list[str], name: str, *, default: int, most: int) -> int:
    """Return a whole number from a content type (RFC 4856, RFC 2586), held within bounds."""
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        text = value.strip().strip('"')
        if key.strip().lower() == name and text.isascii() and text.isdecimal():
            return min(max(int(text[:9]), 1), most)
    return default
