"""How a database gets the tables of this program: two histories of numbered Alembic revisions.

The archive and its key store are apart, so each has its own. Alembic is only imported where there is
something to do.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class History:
    """A row of revisions, one module each in ``folder``; ``head`` is the newest."""

    name: str
    head: str
    folder: Path

    @property
    def table(self) -> str:
        """The table in which a database says which revision it has."""
        return f"{self.name}_revision"


_HERE: Final = Path(__file__).parent
ARCHIVE: Final = History("archive", "0001", _HERE / "archive")
KEYS: Final = History("keys", "0001", _HERE / "keys")


def upgrade(connection: "Connection", history: History) -> None:
    """Bring the database to the head of ``history``, in the transaction that ``connection`` is in."""
    from alembic.operations import Operations  # noqa: PLC0415  # a third of a second, rarely needed
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415  # as above
    from alembic.script import ScriptDirectory  # noqa: PLC0415  # as above

    script = ScriptDirectory(str(_HERE), version_locations=[str(history.folder)])
    context = MigrationContext.configure(
        connection,
        opts={
            "fn": lambda revision, _: script._upgrade_revs(history.head, revision),  # noqa: SLF001  # as `command.upgrade` does
            "version_table": history.table,
            "transactional_ddl": True,
        },
    )
    with Operations.context(context):
        context.run_migrations()
