"""The first table of the key store.

Revision: 0001
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TYPES: dict[str, sa.types.TypeEngine[Any]] = {
    "text": sa.Text(collation="C").with_variant(sa.Text(), "sqlite"),
    "integer": sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
    "blob": sa.LargeBinary(),
}


def upgrade() -> None:
    """Create the table."""
    _table(
        "keys",
        "slot integer, room integer, id text?, kind text?, wrapped_by text?, wrapped blob?, "
        "made_at integer?",
        key=("slot",),
        unique=("id",),
    )
    _index("keys_empty", "keys", ("room",), where="id IS NULL")
    _index("keys_wrapped_by", "keys", ("wrapped_by", "id"))
    if op.get_context().dialect.name == "postgresql":
        # Or a catalog would quote keys, for the planner, long after they are destroyed.
        op.execute("ALTER TABLE keys ALTER COLUMN wrapped SET STATISTICS 0")


def _table(
    name: str,
    columns: str,
    *,
    key: Sequence[str],
    unique: Sequence[str] = (),
) -> None:
    """Create a table; a question mark stands after the type of what may be absent."""
    parts = [column.split() for column in columns.split(", ")]
    op.create_table(
        name,
        *(
            sa.Column(column, _TYPES[kind.removesuffix("?")], nullable=kind.endswith("?"))
            for column, kind in parts
        ),
        sa.PrimaryKeyConstraint(*key),
        *([sa.UniqueConstraint(*unique)] if unique else []),
        sqlite_strict=True,
    )


def _index(name: str, table: str, columns: Sequence[str], where: str | None = None) -> None:
    condition = None if where is None else sa.text(where)
    op.create_index(name, table, list(columns), sqlite_where=condition)
