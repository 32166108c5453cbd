"""How a database gets the tables of this program: two histories of numbered Alembic revisions.

The archive and its key store are apart, so each has its own. Alembic is only imported where there is
something to do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from storage.errors import UnavailableError

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext
    from sqlalchemy import Connection, Dialect


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
ARCHIVE: Final = History("archive", "0005", _HERE / "archive")
KEYS: Final = History("keys", "0001", _HERE / "keys")


def require_known(revisions: Sequence[str], history: History, where: str) -> str:
    """Return the revision of a database, which says of ``revisions`` that it has them.

    Raises:
        UnavailableError: It is newer than this program, or there is not one.
    """
    if len(revisions) != 1:
        raise UnavailableError(f"{where}: says of {len(revisions)} revisions that it has them")
    (revision,) = revisions
    if revision > history.head:
        raise UnavailableError(
            f"{where}: was written by a newer program (revision {revision}; this one knows "
            f"{history.head} and older); install that version or a newer one"
        )
    return revision


def upgrade(connection: "Connection", history: History) -> None:
    """Bring the database to the head of ``history``, in the transaction that ``connection`` is in."""
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415  # a third of a second, rarely needed

    _run(MigrationContext.configure(connection, opts=_options(history)))


def script_of(
    history: History, dialect: "Dialect", *, revision: str | None, into: TextIO
) -> None:
    """Write the statements that bring a database of ``revision`` (None: an empty one) to the head of ``history``.

    So revisions say what to do and never look at what is there; the same ones serve every engine.
    """
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415  # as above

    written = {"as_sql": True, "output_buffer": into, "starting_rev": revision}
    _run(MigrationContext.configure(dialect=dialect, opts={**_options(history), **written}))


def _options(history: History) -> dict[str, Any]:
    from alembic.script import ScriptDirectory  # noqa: PLC0415  # as above

    script = ScriptDirectory(str(_HERE), version_locations=[str(history.folder)])
    return {
        "fn": lambda revision, _: script._upgrade_revs(history.head, revision),  # noqa: SLF001  # as `command.upgrade` does
        "version_table": history.table,
        "transactional_ddl": True,
    }


def _run(context: "MigrationContext") -> None:
    from alembic.operations import Operations  # noqa: PLC0415  # as above

    with Operations.context(context):
        context.run_migrations()
