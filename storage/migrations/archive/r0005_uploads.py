"""Recordings that are sent in pieces.

Revision: 0005
"""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TEXT: Final = sa.Text(collation="C").with_variant(sa.Text(), "sqlite")
_INTEGER: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_BLOB: Final = sa.LargeBinary()


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "uploads",
        sa.Column("id", _TEXT, nullable=False),
        sa.Column("version", _INTEGER, nullable=False),
        sa.Column("actor_id", _TEXT, nullable=False),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("state", _TEXT, nullable=False),
        sa.Column("offset_bytes", _INTEGER, nullable=False),
        sa.Column("length_bytes", _INTEGER, nullable=True),
        sa.Column("touched_at", _INTEGER, nullable=False),
        sa.Column("sealed", _BLOB, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )
    op.create_index("uploads_actor_id", "uploads", ["actor_id"])
    op.create_index("uploads_touched_at", "uploads", ["touched_at"])
    if op.get_context().dialect.name == "postgresql":
        # Or a catalog would quote what was sealed, for the planner, long after it is removed.
        op.execute("ALTER TABLE uploads ALTER COLUMN sealed SET STATISTICS 0")
