"""What Genesys Cloud exports in bulk to a bucket: recordings, and beside each what it says of it.

``ORGANISATION/year=/month=/day=/hour=/conversation_id=ID/RECORDING.opus`` and ``RECORDING.opus_metadata.json`` (Genesys
Cloud Resource Center, "Work with exported recordings in AWS S3 bucket"). Below the directory any of the upper folders
may be missing: a person may have copied one day.
"""

import re
from typing import Final
from urllib.parse import urlencode

from service.sources.files import CONTENT_TYPES, RecordingFile, RequestFile, suffix_of

METADATA: Final = "_metadata.json"
PGP_TYPE: Final = "application/pgp-encrypted"
_PGP: Final = frozenset({"pgp", "gpg"})
_IDENT: Final = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_FOLDER: Final = re.compile(rf"(?:.*/)?conversation_id=({_IDENT})", re.DOTALL)
# The metadata of a whole call (ID.opus_call_metadata.json) and transcripts are something else, and stay where they are.
_RECORDING: Final = re.compile(rf"{_IDENT}(?:\.[0-9a-z]{{1,8}})?", re.ASCII)


def recognise_file(name: str, head: bytes) -> RequestFile | RecordingFile | None:  # noqa: ARG001  # as others need it
    """Return what the file ``name`` is, by its folder and its name; None outside of the folder of a conversation.

    What PGP encrypted is kept as it is: it cannot be opened here.
    """
    above, _, base = name.rpartition("/")
    folder = _FOLDER.fullmatch(above)
    if folder is None:
        return None
    conversation = folder[1]
    plain = base.rpartition(".")[0] if suffix_of(base) in _PGP else base
    recording = plain.removesuffix(METADATA)
    if not _RECORDING.fullmatch(recording):
        return None
    if plain != recording:
        encrypted = {} if plain == base else {"encrypted": "pgp"}
        told = {"conversation": conversation, "recording": recording, **encrypted}
        return RequestFile(urlencode(told))
    content_type = CONTENT_TYPES.get(suffix_of(plain))
    if content_type is None:
        return None
    return RecordingFile(
        source_id=conversation,
        name=base,
        content_type=content_type if plain == base else PGP_TYPE,
        whole_with=f"{above}/{plain}{METADATA}",
    )
