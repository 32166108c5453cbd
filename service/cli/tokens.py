"""``taltio tokens``: the tokens of machines."""

from datetime import datetime

from service.access.names import parse_role
from service.access.tokens import Tokens
from service.domain.actor import OPERATOR
from service.domain.identifiers import require_source_name
from service.domain.times import format_time


async def create_token(
    tokens: Tokens,
    name: str,
    *,
    role: str,
    source: str | None,
    now: datetime,
) -> None:
    """Print a new token and nothing else, so that a script can take it.

    Raises:
        InvalidInputError: The name, the role or the source cannot be.
    """
    if source is not None:
        require_source_name(source)
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
