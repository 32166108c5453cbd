"""What rtpengine leaves in its recording directory: the packets of each call, and what it knows of the call."""

import re
from typing import Final
from urllib.parse import unquote

from service.sources.files import CONTENT_TYPES, RecordingFile, RequestFile, suffix_of

PCAP_TYPE: Final = "application/vnd.tcpdump.pcap"
_PREFIX: Final = "rtpengine-meta-"
# The Call-ID, percent-encoded, and random digits that tell recordings of one call apart; sometimes which stream it is.
_RECORDED: Final = re.compile(r"(?P<call>.+)-[0-9a-f]{16}(?:-mix|-[0-9a-f]{1,8})?", re.ASCII)


def recognise_file(name: str, head: bytes) -> RequestFile | RecordingFile | None:  # noqa: ARG001  # as others need it
    """Return what the file ``name`` is, by its name.

    ``metadata/rtpengine-meta-CALL-DIGITS.txt`` tells of a call that is over; in ``tmp`` it tells of one that lasts, or
    that was going on when rtpengine ended. ``pcaps/CALL-DIGITS.pcap`` grows as long as the call lasts: it is whole when
    its metadata are there. Recordings of the recording daemon are called so too.
    """
    folders, _, base = name.rpartition("/")
    stem, suffix = base.rpartition(".")[0], suffix_of(name)
    if base.startswith(_PREFIX) and suffix in {"txt", "tmp"}:
        if suffix == "txt" and not folders.endswith("tmp"):
            return RequestFile("")
        # It is written to when a call begins and when it ends: how long that is ago says nothing of the call.
        captured = f"{folders.rpartition('tmp')[0]}pcaps/{stem.removeprefix(_PREFIX)}.pcap"
        return RequestFile("", is_unfinished=True, grows_with=captured)
    content_type = PCAP_TYPE if suffix == "pcap" else CONTENT_TYPES.get(suffix)
    if content_type is None:
        return None
    above = folders.rpartition("pcaps")[0]
    return RecordingFile(
        source_id=call_in_name(stem),
        name=unquote(base),
        content_type=content_type,
        whole_with=f"{above}metadata/{_PREFIX}{stem}.txt" if suffix == "pcap" else None,
    )


def call_in_name(stem: str) -> str:
    """Return the Call-ID that the name of a recording, without its suffix, begins with."""
    told = _RECORDED.fullmatch(stem)
    return unquote(told["call"] if told else stem)
