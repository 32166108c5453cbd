"""What a SIPREC recording server leaves in a directory: documents of metadata, and recordings beside them."""

import re
from typing import Final

from service.sources.files import CONTENT_TYPES, RecordingFile, RequestFile, suffix_of
from service.sources.siprec_session import session_name

_STEM: Final = re.compile(r"[^.]+")


def recognise_file(name: str, head: bytes) -> RequestFile | RecordingFile | None:  # noqa: ARG001  # as others need it
    """Return what the file ``name`` is: ``*.xml`` holds metadata; a recording is of the session that its name tells.

    The session is what stands before the first dot, so that ``SESSION.wav``, ``SESSION.1.wav`` and ``SESSION.2.wav``
    are of one session. In names of files base64 is that for URLs, for it cannot have a ``/`` there.
    """
    base = name.rpartition("/")[2]
    suffix = suffix_of(name)
    if suffix == "xml":
        return RequestFile("")
    content_type = CONTENT_TYPES.get(suffix)
    stem = _STEM.match(base)
    if content_type is None or stem is None:
        return None
    return RecordingFile(source_id=session_name(stem[0]), name=base, content_type=content_type)
