"""Captures of RTP as rtpengine writes them, made by us."""

import struct
from collections.abc import Iterable

CALLER, AGENT = ("10.0.0.1", 6000), ("10.0.0.2", 7000)
TO_CALLER, TO_AGENT = ("10.0.0.9", 30012), ("10.0.0.9", 30000)
"""Where rtpengine takes what the caller, and what the agent sends."""


def packet(
    stamp: int,
    payload: bytes,
    *,
    kind: int = 8,
    ssrc: int = 7,
    source=CALLER,
    to=TO_CALLER,
    head: bytes = b"",
    first: int = 0x80,
) -> bytes:
    """Return an IPv4 packet with RTP in it; ``head`` stands between the header and the payload."""
    rtp = struct.pack(">BBHII", first, kind, stamp // 160 & 0xFFFF, stamp & 0xFFFFFFFF, ssrc)
    body = rtp + head + payload
    udp = struct.pack(">HHHH", source[1], to[1], 8 + len(body), 0) + body
    addresses = b"".join(bytes(map(int, one[0].split("."))) for one in (source, to))
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + addresses
    return ip + udp


def capture(
    packets: Iterable[tuple[float, bytes]],
    *,
    order: str = "<",
    nano: bool = False,
    link: int = 101,
) -> bytes:
    """Return a pcap of packets with the seconds at which they were captured."""
    magic = 0xA1B23C4D if nano else 0xA1B2C3D4
    made = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, link)
    unit = 1_000_000_000 if nano else 1_000_000
    for at, one in packets:
        seconds, fraction = divmod(round((1_795_340_448 + at) * unit), unit)
        made += struct.pack(f"{order}IIII", seconds, fraction, len(one), len(one)) + one
    return made


def talk(
    seconds: float, *, at: float = 0.0, stamp: int = 0, code: int = 0x55, **more
) -> list[tuple[float, bytes]]:
    """Return packets of 20 ms each, of one sample over and over."""
    return [
        (at + n * 0.02, packet(stamp + n * 160, bytes([code]) * 160, **more))
        for n in range(round(seconds * 50))
    ]
