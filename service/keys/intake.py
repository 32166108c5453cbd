"""What intake needs of the keys: enough to seal and to recognise a delivery, nothing to open."""

from dataclasses import dataclass, field

from service.crypto.age import seal_header
from service.crypto.blind_index import BlindIndex, derive_index_key
from service.crypto.recipients import Recipient
from service.crypto.secret import DataKey, FileKey, IndexKey, IndexMaster, derive
from service.keys.epoch import Epoch

INTAKE_SCOPE = "intake"


def derive_intake_master(master: IndexMaster) -> IndexMaster:
    """Return the index master of intake; the desk's index keys cannot be had from it."""
    return IndexMaster(derive(master, info=b"taltio.intake_index.v1"))


@dataclass(frozen=True, slots=True)
class IntakeKeys:
    """The public half of the current epoch, and the index keys of intake's own fields.

    Whoever steals it can seal to the archive and test guesses of delivery ids; it opens
    nothing and gives no token of a customer's identifiers.
    """

    epoch: int
    recipient: Recipient = field(repr=False)
    index_master: IndexMaster = field(repr=False)

    def seal_header(self, file_key: FileKey) -> tuple[int, bytes]:
        """Return the current epoch and a header that it opens."""
        return self.epoch, seal_header(file_key, [self.recipient])

    def index_key(self, field: str) -> IndexKey:
        """Return the index key of one of intake's own fields, such as ``delivery``.

        It is another key than the desk has for a field of the same name.

        Raises:
            ValueError: ``field`` is not a short lower-case name.
        """
        return derive_index_key(self.index_master, field, scope=INTAKE_SCOPE)

    def source_key(self) -> DataKey:
        """Return the key under which intake is told the secrets of sources that are not in its settings.

        Whoever steals it and the database can send in the name of these sources, and read nothing of what came.
        """
        return DataKey(derive(self.index_master, info=b"taltio.intake_sources.v1"))

    def blind_index(self) -> BlindIndex:
        """Return what makes the tokens of intake's own fields."""
        return BlindIndex(self.index_key)


@dataclass(frozen=True, slots=True)
class PublicMaterial:
    """What is known of the keys while no secret is opened. ``epochs`` have no keys; the last one is active."""

    epochs: tuple[Epoch, ...]
    intake: IntakeKeys = field(repr=False)
    escrow: tuple[Recipient, ...] = ()
