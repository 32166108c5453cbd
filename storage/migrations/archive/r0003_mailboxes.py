"""How far mailboxes were read.

Revision: 0003
"""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TEXT: Final = sa.Text(collation="C").with_variant(sa.Text(), "sqlite")
_INTEGER: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "mailboxes",
        sa.Column("source", _TEXT, nullable=False),
        sa.Column("token", sa.LargeBinary(), nullable=False),
        sa.Column("version", _INTEGER, nullable=False),
        sa.Column("uid_validity", _INTEGER, nullable=False),
        sa.Column("next_uid", _INTEGER, nullable=False),
        sa.Column("read_at", _INTEGER, nullable=True),
        sa.PrimaryKeyConstraint("source", "token"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
