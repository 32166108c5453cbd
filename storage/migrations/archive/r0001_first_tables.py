"""The first tables of the archive.

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
    """Create the tables."""
    _table(
        "deliveries",
        "id text, version integer, source text, kind text, dedupe blob, body_token blob, "
        "received_at integer, size_bytes integer, sealed blob, state text, reason text?, "
        "await_token blob?, contact_id text?, object_id text?",
        key=("id",),
        unique=("source", "dedupe"),
    )
    _index(
        "deliveries_await_token",
        "deliveries",
        ("await_token",),
        where="await_token IS NOT NULL",
    )
    _index("deliveries_contact_id", "deliveries", ("contact_id",))
    _index("deliveries_received_at", "deliveries", ("received_at",))
    _index("deliveries_state", "deliveries", ("state", "received_at"))
    _table(
        "contacts",
        "id text, version integer, source text, source_token blob, channel text, "
        "direction text, started_at integer, ended_at integer?, created_at integer, "
        "recording_state text?, state text, sealed blob",
        key=("id",),
        unique=("source", "source_token"),
    )
    _index("contacts_channel", "contacts", ("channel", "started_at", "id"))
    _index("contacts_recording_state", "contacts", ("recording_state", "started_at", "id"))
    _index("contacts_started_at", "contacts", ("started_at", "id"))
    _table(
        "contact_tokens",
        "token blob, started_at integer, contact_id text",
        key=("token", "started_at", "contact_id"),
        is_clustered=True,
    )
    _index("contact_tokens_contact_id", "contact_tokens", ("contact_id",))
    _table(
        "customers",
        "id text, version integer, number_token blob, updated_at integer, state text, "
        "sealed blob",
        key=("id",),
        unique=("number_token",),
    )
    _table(
        "customer_tokens",
        "token blob, customer_id text, field text, valid_from integer, valid_to integer",
        key=("token", "customer_id", "valid_from"),
        is_clustered=True,
    )
    _index("customer_tokens_customer_id", "customer_tokens", ("customer_id",))
    _table(
        "links",
        "contact_id text, customer_id text, version integer, state text, reasons text, "
        "certainty text, made_by text, made_at integer",
        key=("contact_id", "customer_id"),
        is_clustered=True,
    )
    _index("links_customer_id", "links", ("customer_id",))
    _table(
        "recordings",
        "id text, version integer, contact_id text, name_token blob, state text, "
        "expected_until integer?, received_at integer?, object_id text?, sealed blob",
        key=("id",),
        unique=("contact_id", "name_token"),
    )
    _index("recordings_state", "recordings", ("state", "expected_until"))
    _table(
        "objects",
        "id text, kind text, owner_id text?, contact_id text?, plain_bytes integer, "
        "sealed_bytes integer, sha256 blob, made_at integer",
        key=("id",),
    )
    _index("objects_contact_id", "objects", ("contact_id",))
    _index("objects_owner_id", "objects", ("owner_id",))
    _table(
        "messages",
        "id text, contact_id text, message_token blob, sent_at integer, object_id text, "
        "sealed blob",
        key=("id",),
        unique=("contact_id", "message_token"),
    )
    _table(
        "attention",
        "id text, version integer, reason text, about text, source text?, raised_at integer, "
        "state text, settled_by text?, settled_at integer?, sealed blob?",
        key=("id",),
    )
    _index("attention_about", "attention", ("about",))
    _index("attention_state", "attention", ("state", "raised_at"))
    _table(
        "grants",
        "id text, version integer, actor_id text, purpose text, created_at integer, "
        "expires_at integer, withdrawn_at integer?, sealed blob",
        key=("id",),
    )
    _index("grants_actor_id", "grants", ("actor_id", "created_at"))
    _table(
        "grant_contacts",
        "grant_id text, contact_id text",
        key=("grant_id", "contact_id"),
        is_clustered=True,
    )
    _index("grant_contacts_contact_id", "grant_contacts", ("contact_id",))
    _table(
        "openings",
        "id text, version integer, grant_id text, object_id text, actor_id text, "
        "contact_id text, opened_at integer, sent text, heard text",
        key=("id",),
        unique=("grant_id", "object_id"),
    )
    _index("openings_contact_id", "openings", ("contact_id",))
    _index("openings_object_id", "openings", ("object_id",))
    _table(
        "users",
        "id text, version integer, login_token blob, roles text, state text, "
        "failures integer, locked_until integer, created_at integer, sealed blob",
        key=("id",),
        unique=("login_token",),
    )
    _table(
        "tokens",
        "id text, version integer, secret_hash blob, role text, source text?, "
        "created_at integer, revoked_at integer?, mark blob, sealed blob",
        key=("id",),
        unique=("secret_hash",),
    )
    _table(
        "sessions",
        "id text, user_id text, csrf text, created_at integer, seen_at integer, "
        "expires_at integer",
        key=("id",),
    )
    _index("sessions_expires_at", "sessions", ("expires_at",))
    _index("sessions_user_id", "sessions", ("user_id",))
    _table(
        "invites",
        "id text, user_id text, created_at integer, expires_at integer",
        key=("id",),
    )
    _index("invites_user_id", "invites", ("user_id",))
    _table(
        "jobs",
        "id text, kind text, subject text, state text, run_at integer, attempts integer, "
        "claimed_until integer, last_error text?",
        key=("id",),
        unique=("kind", "subject"),
    )
    _index("jobs_state", "jobs", ("kind", "state", "run_at", "id"))
    _disposal()
    _table(
        "log",
        "position integer, entry blob, leaf blob, mark blob",
        key=("position",),
    )
    _index("log_mark", "log", ("mark",))
    _table(
        "log_about",
        "subject text, position integer",
        key=("subject", "position"),
        is_clustered=True,
    )
    _table(
        "commit_marks",
        "writer text, number integer, marked_at integer",
        key=("writer",),
    )


def _disposal() -> None:
    """Create the tables of holds and erasures."""
    _table(
        "holds",
        "id text, version integer, contact_id text?, customer_id text?, period_from integer?, "
        "period_to integer?, state text, owner_id text, placed_at integer, review_on text, "
        "requested_by text?, released_by text?, released_at integer?, sealed blob",
        key=("id",),
    )
    _index("holds_contact_id", "holds", ("contact_id",), where="contact_id IS NOT NULL")
    _index("holds_customer_id", "holds", ("customer_id",), where="customer_id IS NOT NULL")
    _index("holds_placed_at", "holds", ("placed_at", "id"))
    _table(
        "erasures",
        "id text, version integer, contact_id text, ground text, state text, "
        "requested_by text, requested_at integer, approved_by text?, approved_at integer?, "
        "finished_at integer?, parts text, sealed blob",
        key=("id",),
    )
    _index("erasures_contact_id", "erasures", ("contact_id",))
    _index("erasures_requested_at", "erasures", ("requested_at", "id"))
    _index("erasures_state", "erasures", ("state", "requested_at"))
    _table("guards", "id text, version integer", key=("id",))


def _table(
    name: str,
    columns: str,
    *,
    key: Sequence[str],
    unique: Sequence[str] = (),
    is_clustered: bool = False,
) -> None:
    """Create a table; a question mark stands after the type of what may be absent."""
    parts = [column.split() for column in columns.split(", ")]
    op.create_table(
        name,
        *(
            sa.Column(
                column,
                _TYPES[kind.removesuffix("?")],
                nullable=kind.endswith("?"),
                autoincrement=False,
            )
            for column, kind in parts
        ),
        sa.PrimaryKeyConstraint(*key),
        *([sa.UniqueConstraint(*unique)] if unique else []),
        sqlite_strict=True,
        sqlite_with_rowid=not is_clustered,
    )
    if (
        "sealed" in (column for column, _ in parts)
        and op.get_context().dialect.name == "postgresql"
    ):
        # Or a catalog would quote what was sealed, for the planner, long after it is erased.
        op.execute(f"ALTER TABLE {name} ALTER COLUMN sealed SET STATISTICS 0")


def _index(name: str, table: str, columns: Sequence[str], where: str | None = None) -> None:
    condition = None if where is None else sa.text(where)
    op.create_index(name, table, list(columns), sqlite_where=condition)
