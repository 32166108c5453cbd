"""What was sent to the archive and what it acknowledged: lines in a file that nothing of the archive touches."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Item:
    """Something that was asked of the archive.

    Attributes:
        kind: ``contact``, ``recording``, ``grant`` or ``opening``.
        name: ``source/source_id`` of a contact or recording; the id of a grant; the object that was opened.
        proof: The subject of a contact; SHA-256 of a recording; the contact of a grant; the grant of an opening.
    """

    kind: str
    name: str
    proof: str


class History:
    """Written as it happens: an item is noted as sent before it is, and as acknowledged once it was."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a")
        self.acknowledgements = 0
        self._has_ended = False

    def end(self) -> None:
        """Believe no acknowledgement any more, until ``begin``: the power is about to go off.

        From a machine without power comes none. From a file system that is only told to behave so, some do:
        where Linux aborts the journal of ext4 while a sync waits for it, that may say that it succeeded.
        """
        self._has_ended = True

    def begin(self) -> None:
        self._has_ended = False

    def sent(self, item: Item) -> None:
        self._note("sent", item)

    def acknowledged(self, item: Item) -> None:
        if self._has_ended:
            return
        self.acknowledgements += 1
        self._note("acknowledged", item)

    def _note(self, what: str, item: Item) -> None:
        self._file.write(json.dumps({"what": what, **asdict(item)}) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def read_history(path: Path) -> tuple[set[Item], set[Item]]:
    """Return what was sent, and what of it was acknowledged."""
    found: dict[str, set[Item]] = {"sent": set(), "acknowledged": set()}
    for line in path.read_text().splitlines():
        told = json.loads(line)
        found[told.pop("what")].add(Item(**told))
    return found["sent"], found["acknowledged"]
