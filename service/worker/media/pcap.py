"""Captured packets (pcap, as libpcap writes it): the datagrams in them, and nothing else that a network carries.

draft-ietf-opsawg-pcap; link types as the registry of tcpdump.org numbers them. Whatever cannot be read is passed over,
so that one strange packet costs no more than itself.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from service.worker.media.wave import ReadAt

_MAGIC: Final = {
    b"\xd4\xc3\xb2\xa1": ("<", 1_000),
    b"\xa1\xb2\xc3\xd4": (">", 1_000),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
    b"\xa1\xb2\x3c\x4d": (">", 1),
}
"""The byte order, and the nanoseconds in a unit of the fraction."""
_FILE_HEAD: Final = 24
_PACKET_HEAD: Final = 16
_MAX_PACKET_BYTES: Final = 256 * 1024
_WINDOW_BYTES: Final = 256 * 1024

_LINK_HEADS: Final = {1: 14, 12: 0, 14: 0, 101: 0, 113: 16, 228: 0, 229: 0, 276: 20}
"""The bytes before the IP header: Ethernet, raw IP (as numbered by several systems), Linux cooked."""
_VLAN: Final = (b"\x81\x00", b"\x88\xa8")
_ETHERNET: Final = 1
_UDP: Final = 17
_UDP_HEAD: Final = 8


@dataclass(frozen=True, slots=True)
class Datagram:
    """A UDP datagram: when it was captured in ns, from where to where, and where in the file its payload is."""

    at_ns: int
    source: tuple[bytes, int]
    destination: tuple[bytes, int]
    offset: int
    payload: bytes
    is_whole: bool


def is_pcap(head: bytes) -> bool:
    """Tell whether a file that begins with ``head`` is a capture that we read."""
    return head[:4] in _MAGIC


class Capture:
    """The datagrams of a capture, in the order in which they were captured.

    ``is_truncated`` tells after they were read whether the last packet was cut.
    """

    def __init__(self, read_at: ReadAt, size_bytes: int) -> None:
        """Take a file for which ``is_pcap`` is true."""
        self._read_at, self._size = read_at, size_bytes
        self._window, self._window_at = b"", 0
        self.is_truncated = size_bytes < _FILE_HEAD

    def datagrams(self) -> Iterator[Datagram]:
        """Yield every datagram that can be read."""
        head = self._bytes(0, _FILE_HEAD)
        if len(head) < _FILE_HEAD:
            return
        order, unit_ns = _MAGIC[head[:4]]
        link = struct.unpack(f"{order}I", head[20:24])[0] & 0xFFFF
        fields, place = struct.Struct(f"{order}IIII"), _FILE_HEAD
        while place < self._size:
            packet_head = self._bytes(place, _PACKET_HEAD)
            if len(packet_head) < _PACKET_HEAD:
                self.is_truncated = True
                return
            seconds, fraction, length, original = fields.unpack(packet_head)
            place += _PACKET_HEAD
            packet = self._bytes(place, min(length, _MAX_PACKET_BYTES))
            if len(packet) < length:
                # Cut, or no packet at all: what follows would be read at the wrong place.
                self.is_truncated = True
                return
            at_ns = seconds * 1_000_000_000 + fraction * unit_ns
            found = _datagram(packet, link)
            if found is not None:
                source, destination, start, stop = found
                yield Datagram(
                    at_ns,
                    source,
                    destination,
                    place + start,
                    packet[start:stop],
                    is_whole=original <= length,
                )
            place += length

    def _bytes(self, offset: int, length: int) -> bytes:
        """Return bytes of the file, read in windows."""
        start = offset - self._window_at
        if start < 0 or start + length > len(self._window):
            self._window = self._read_at(offset, max(length, _WINDOW_BYTES))
            self._window_at, start = offset, 0
        return self._window[start : start + length]


def _datagram(
    packet: bytes, link: int
) -> tuple[tuple[bytes, int], tuple[bytes, int], int, int] | None:
    """Return source, destination, and where the payload begins and ends; None where there is no whole datagram."""
    if link not in _LINK_HEADS:
        return None
    at = _LINK_HEADS[link]
    while link == _ETHERNET and packet[at - 2 : at] in _VLAN:
        at += 4
    addressed = {4: _ipv4, 6: _ipv6}.get(packet[at] >> 4 if at < len(packet) else 0)
    found = None if addressed is None else addressed(packet, at)
    if found is None:
        return None
    udp, source, destination = found
    if udp + _UDP_HEAD > len(packet):
        return None
    from_port, to_port, length = struct.unpack(">HHH", packet[udp : udp + 6])
    start = udp + _UDP_HEAD
    stop = min(udp + max(length, _UDP_HEAD), len(packet))
    return (source, from_port), (destination, to_port), start, stop


def _ipv4(packet: bytes, at: int) -> tuple[int, bytes, bytes] | None:
    """Return where UDP begins, and the addresses (RFC 791); None for fragments and other protocols."""
    if at + 20 > len(packet):
        return None
    is_fragment = struct.unpack(">H", packet[at + 6 : at + 8])[0] & 0x3FFF
    if packet[at + 9] != _UDP or is_fragment:
        return None
    return at + (packet[at] & 15) * 4, packet[at + 12 : at + 16], packet[at + 16 : at + 20]


def _ipv6(packet: bytes, at: int) -> tuple[int, bytes, bytes] | None:
    """Return the same of IPv6 (RFC 8200) without extension headers, which media do not have."""
    if at + 40 > len(packet) or packet[at + 6] != _UDP:
        return None
    return at + 40, packet[at + 8 : at + 24], packet[at + 24 : at + 40]
