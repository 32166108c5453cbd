"""``taltio tokens``: the tokens of machines."""

from collections.abc import Collection
from datetime import datetime

from service.access.names import parse_role
from service.access.tokens import Tokens
from service.domain.actor import OPERATOR
from service.domain.errors import InvalidInputError
from service.domain.times import format_time


async def create_token(
    tokens: Tokens,
    name: str,
    *,
    role: str,
    source: str | None,
    sources: Collection[str],
    now: datetime,
) -> None:
    """Print a new token and nothing else, so that a script can take it. ``sources`` are those configured.

    Raises:
        InvalidInputError: The name, the role or the source cannot be.
    """
    if source is not None and source not in sources:
        known = ", ".join(sorted(sources)) or "none"
        raise InvalidInputError(f"no such source is configured; there are: {known}")
    token = await tokens.create(
        name, role=parse_role(role), source=source, by=OPERATOR, now=now
    )
    print(token.secret)


async def list_tokens(tokens: Tokens) -> None:
    """Print a line for each token: id, state, role, source, when it was made, name; tabs between."""
    for token in await tokens.find_all(by=OPERATOR):
        state = "valid" if token.revoked_at is None else "revoked"
        made_at = format_time(token.created_at)
        print(token.id, state, token.role, token.source or "-", made_at, token.name, sep="\t")


async def revoke_token(tokens: Tokens, token_id: str, *, now: datetime) -> None:
    """Make a token worth nothing; the service notices within two seconds.

    Raises:
        NotFoundError: There is no such token.
    """
    await tokens.revoke(token_id, by=OPERATOR, now=now)
    print(f"{token_id} is revoked.")
