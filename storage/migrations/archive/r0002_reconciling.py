"""What sources say they handled, and did not deliver.

Revision: 0002
"""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TEXT: Final = sa.Text(collation="C").with_variant(sa.Text(), "sqlite")
_INTEGER: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "missing_contacts",
        sa.Column("contact_id", _TEXT, nullable=False),
        sa.Column("source", _TEXT, nullable=False),
        sa.Column("started_at", _INTEGER, nullable=False),
        sa.Column("state", _TEXT, nullable=False),
        sa.PrimaryKeyConstraint("contact_id"),
        sqlite_strict=True,
    )
    op.create_index("missing_contacts_source", "missing_contacts", ["source", "started_at"])
    op.create_table(
        "reconciled_days",
        sa.Column("source", _TEXT, nullable=False),
        sa.Column("day", _TEXT, nullable=False),
        sa.Column("said", _INTEGER, nullable=False),
        sa.Column("unknown", _INTEGER, nullable=False),
        sa.Column("compared_at", _INTEGER, nullable=False),
        sa.Column("compared_by", _TEXT, nullable=False),
        sa.PrimaryKeyConstraint("source", "day"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "source_gaps",
        sa.Column("id", _TEXT, nullable=False),
        sa.Column("version", _INTEGER, nullable=False),
        sa.Column("source", _TEXT, nullable=False),
        sa.Column("cause", _TEXT, nullable=False),
        sa.Column("since", _INTEGER, nullable=False),
        sa.Column("until", _INTEGER, nullable=True),
        sa.Column("state", _TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )
    op.create_index("source_gaps_source", "source_gaps", ["source", "state"])
