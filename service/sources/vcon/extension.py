"""What our own vCons say beside what the draft has a place for, so that another archive takes in the same."""

from typing import Final

EXTENSION: Final = "taltio"
"""The name of the extension, among a vCon's ``extensions``. Who does not know it loses nothing of the draft's."""

CONTACT: Final = "taltio_contact"
"""The member that has the contact as the archive's own contact JSON, without messages and recordings."""

PAUSE: Final = "recording_pause"
"""What an attachment is for that says when, why and by whom a recording was paused."""

CHANGE: Final = "message_change"
"""What an attachment is for that says that its dialog is a message as it was edited, or its deletion."""

OWN_PURPOSES: Final = frozenset({PAUSE, CHANGE})
"""What attachments of our own are for: nothing in them is left out."""
