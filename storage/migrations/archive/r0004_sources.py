"""Sources that are connected while the service runs, and the last replay of each.

Revision: 0004
"""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TEXT: Final = sa.Text(collation="C").with_variant(sa.Text(), "sqlite")
_INTEGER: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_BLOB: Final = sa.LargeBinary()


def upgrade() -> None:
    """Create the tables, and the index by which a source's deliveries are listed."""
    op.create_index("deliveries_source", "deliveries", ["source", "received_at"])
    op.create_table(
        "sources",
        sa.Column("id", _TEXT, nullable=False),
        sa.Column("version", _INTEGER, nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("state", _TEXT, nullable=False),
        sa.Column("created_at", _INTEGER, nullable=False),
        sa.Column("live_at", _INTEGER, nullable=True),
        sa.Column("for_intake", _BLOB, nullable=False),
        sa.Column("sealed", _BLOB, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
        sqlite_strict=True,
    )
    if op.get_context().dialect.name == "postgresql":
        # Or a catalog would quote what was sealed, for the planner, long after it is removed.
        for column in ("for_intake", "sealed"):
            op.execute(f"ALTER TABLE sources ALTER COLUMN {column} SET STATISTICS 0")
    op.create_table(
        "replays",
        sa.Column("source", _TEXT, nullable=False),
        sa.Column("version", _INTEGER, nullable=False),
        sa.Column("scope", _TEXT, nullable=False),
        sa.Column("state", _TEXT, nullable=False),
        sa.Column("begun_by", _TEXT, nullable=False),
        sa.Column("begun_at", _INTEGER, nullable=False),
        sa.Column("finished_at", _INTEGER, nullable=True),
        *(
            sa.Column(name, _INTEGER, nullable=False)
            for name in ("total", "done", "changed", "failed")
        ),
        sa.Column("after", _TEXT, nullable=False),
        sa.PrimaryKeyConstraint("source"),
        sqlite_strict=True,
    )
