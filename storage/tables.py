"""The tables, once, for every engine: one for each row class, with what must be unique and what will be asked.

Columns come from the row classes. There are no foreign keys: the order of writes is the archive's, an erasure
removes rows in another order than they came, and ``taltio verify`` looks for what does not fit together.
"""

from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import TypeEngine

from storage import rows
from storage.rows import Row

ARCHIVE = MetaData()
KEYS = MetaData()

# STRICT tables of SQLite know no BIGINT; its INTEGER has 64 bits.
INTEGER = BigInteger().with_variant(Integer, "sqlite")
# Ids and keys are compared byte by byte on every engine, never by a language's rules.
TEXT = Text(collation="C").with_variant(Text(), "sqlite")
BLOB = LargeBinary()

_TYPES: Mapping[object, tuple[TypeEngine[Any], bool]] = MappingProxyType(
    {
        str: (TEXT, False),
        int: (INTEGER, False),
        bytes: (BLOB, False),
        str | None: (TEXT, True),
        int | None: (INTEGER, True),
        bytes | None: (BLOB, True),
    }
)


def _table(
    name: str, row: type[Row], *items: SchemaItem, is_clustered: bool = False
) -> tuple[type[Row], Table]:
    """Describe the table of ``row``; a clustered one is nothing but its key's index."""
    columns = [
        Column(field.name, _TYPES[field.type][0], nullable=_TYPES[field.type][1])
        for field in fields(row)
    ]
    table = Table(
        name,
        ARCHIVE,
        *columns,
        PrimaryKeyConstraint(*row.KEY),
        *items,
        sqlite_strict=True,
        sqlite_with_rowid=not is_clustered,
    )
    return row, table


def _present(name: str, column: str) -> Index:
    """Index the rows in which ``column`` has a value, where most have none.

    Other engines index them all: to say it to PostgreSQL would import that engine at every start.
    """
    return Index(name, column, sqlite_where=Column(column).is_not(None))


TABLES: Mapping[type[Row], Table] = MappingProxyType(
    dict(
        (
            _table(
                "deliveries",
                rows.DeliveryRow,
                UniqueConstraint("source", "dedupe"),
                Index("deliveries_state", "state", "received_at"),
                Index("deliveries_received_at", "received_at"),
                Index("deliveries_source", "source", "received_at"),
                _present("deliveries_await_token", "await_token"),
                Index("deliveries_contact_id", "contact_id"),
            ),
            _table(
                "contacts",
                rows.ContactRow,
                UniqueConstraint("source", "source_token"),
                Index("contacts_started_at", "started_at", "id"),
                Index("contacts_channel", "channel", "started_at", "id"),
                Index("contacts_recording_state", "recording_state", "started_at", "id"),
            ),
            # The key is the index that lookups walk backwards.
            _table(
                "contact_tokens",
                rows.ContactTokenRow,
                Index("contact_tokens_contact_id", "contact_id"),
                is_clustered=True,
            ),
            _table("customers", rows.CustomerRow, UniqueConstraint("number_token")),
            _table(
                "customer_tokens",
                rows.CustomerTokenRow,
                Index("customer_tokens_customer_id", "customer_id"),
                is_clustered=True,
            ),
            _table(
                "links",
                rows.LinkRow,
                Index("links_customer_id", "customer_id"),
                is_clustered=True,
            ),
            _table(
                "recordings",
                rows.RecordingRow,
                UniqueConstraint("contact_id", "name_token"),
                Index("recordings_state", "state", "expected_until"),
            ),
            _table(
                "objects",
                rows.ObjectRow,
                Index("objects_owner_id", "owner_id"),
                Index("objects_contact_id", "contact_id"),
            ),
            _table(
                "messages", rows.MessageRow, UniqueConstraint("contact_id", "message_token")
            ),
            _table(
                "attention",
                rows.AttentionRow,
                Index("attention_state", "state", "raised_at"),
                Index("attention_about", "about"),
            ),
            _table("grants", rows.GrantRow, Index("grants_actor_id", "actor_id", "created_at")),
            _table(
                "grant_contacts",
                rows.GrantContactRow,
                Index("grant_contacts_contact_id", "contact_id"),
                is_clustered=True,
            ),
            _table(
                "openings",
                rows.OpeningRow,
                UniqueConstraint("grant_id", "object_id"),
                Index("openings_object_id", "object_id"),
                Index("openings_contact_id", "contact_id"),
            ),
            _table("users", rows.UserRow, UniqueConstraint("login_token")),
            _table(
                "missing_contacts",
                rows.MissingRow,
                Index("missing_contacts_source", "source", "started_at"),
            ),
            _table("reconciled_days", rows.ReconciledRow, is_clustered=True),
            _table("source_gaps", rows.GapRow, Index("source_gaps_source", "source", "state")),
            _table("mailboxes", rows.MailboxRow, is_clustered=True),
            _table("tokens", rows.TokenRow, UniqueConstraint("secret_hash")),
            _table(
                "sessions",
                rows.SessionRow,
                Index("sessions_user_id", "user_id"),
                Index("sessions_expires_at", "expires_at"),
            ),
            _table("invites", rows.InviteRow, Index("invites_user_id", "user_id")),
            _table(
                "uploads",
                rows.UploadRow,
                Index("uploads_actor_id", "actor_id"),
                Index("uploads_touched_at", "touched_at"),
            ),
            _table("sources", rows.SourceRow, UniqueConstraint("name")),
            _table("replays", rows.ReplayRow),
            _table(
                "jobs",
                rows.JobRow,
                UniqueConstraint("kind", "subject"),
                Index("jobs_state", "kind", "state", "run_at", "id"),
            ),
            _table(
                "holds",
                rows.HoldRow,
                _present("holds_contact_id", "contact_id"),
                _present("holds_customer_id", "customer_id"),
                Index("holds_placed_at", "placed_at", "id"),
            ),
            _table(
                "erasures",
                rows.ErasureRow,
                Index("erasures_contact_id", "contact_id"),
                Index("erasures_state", "state", "requested_at"),
                Index("erasures_requested_at", "requested_at", "id"),
            ),
            _table("guards", rows.GuardRow),
        )
    )
)

LOG = Table(
    "log",
    ARCHIVE,
    Column("position", INTEGER, primary_key=True, autoincrement=False),
    Column("entry", BLOB, nullable=False),
    Column("leaf", BLOB, nullable=False),
    Column("mark", BLOB, nullable=False),
    # Not unique: that nothing is put in twice is looked at by whoever has the key of the marks.
    Index("log_mark", "mark"),
    sqlite_strict=True,
)

LOG_ABOUT = Table(
    "log_about",
    ARCHIVE,
    Column("subject", TEXT, primary_key=True),
    Column("position", INTEGER, primary_key=True, autoincrement=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

# Which of its commits a writer has made, for the case that a server is lost before it answers:
# see `storage.database.postgres.commit`. The commits of SQLite are never in doubt.
COMMIT_MARKS = Table(
    "commit_marks",
    ARCHIVE,
    Column("writer", TEXT, primary_key=True),
    Column("number", INTEGER, nullable=False),
    Column("marked_at", INTEGER, nullable=False),
    sqlite_strict=True,
)

# A destroyed key leaves its slot, of ``room`` bytes, to the next key that fits: see `storage.database.keys`.
KEY_SLOTS = Table(
    "keys",
    KEYS,
    Column("slot", INTEGER, primary_key=True),
    Column("room", INTEGER, nullable=False),
    *(
        Column(field.name, _TYPES[field.type][0], nullable=True)
        for field in fields(rows.KeyRow)
    ),
    UniqueConstraint("id"),
    Index("keys_wrapped_by", "wrapped_by", "id"),
    sqlite_strict=True,
)
Index(
    "keys_empty",
    KEY_SLOTS.c.room,
    sqlite_where=KEY_SLOTS.c.id.is_(None),
)
