"""Finding contacts by tokens: one criterion is walked, newest first, and the others are probed.

The walk follows the key of ``contact_tokens``, so it takes as long for one of ten million contacts as for one
of ten thousand. Which criterion is walked is decided by counting, no further than it takes to tell.
"""

from collections.abc import Collection, Generator, Sequence
from heapq import merge
from itertools import groupby, islice
from typing import Any, Final, TypeVar

from sqlalchemy import bindparam, exists, func, literal_column, or_, select
from sqlalchemy.sql import ColumnElement, Select

from storage.database.statements import Shape, Statements, Values, met, shape_of
from storage.ports import Lookup
from storage.rows import ContactRow, ContactTokenRow
from storage.tables import TABLES

T = TypeVar("T")

_EARLIEST: Final = -(2**63)
_LATEST: Final = 2**63 - 1
_AFTER_EVERY_ID: Final = chr(0x10FFFF)
_GLANCE: Final = 64
_LONG_GLANCE: Final = 2_048
_TOKENS: Final = TABLES[ContactTokenRow]
_CONTACTS: Final = TABLES[ContactRow]


Asking = Generator[tuple[str, tuple[object, ...]], Sequence[Sequence[Any]], T]
"""Yields a statement with its parameters, is sent the rows, and returns what they come to; it does no I/O itself."""


def is_one_statement(query: Lookup) -> bool:
    """Tell whether ``looking_up`` asks once, so that no transaction is needed to see one moment."""
    return len(query.tokens) < 2 and sum(map(len, query.tokens)) < 2  # noqa: PLR2004  # two


def looking_up(query: Lookup, statements: Statements) -> Asking[list[str]]:
    """Return the ids of the contacts that ``query`` describes, by (started_at, id) descending.

    Unless ``is_one_statement``, all statements must see one moment, while others commit.
    """
    where = shape_of(query.where)
    criteria = [sorted(set(tokens)) for tokens in query.tokens]
    if where is None or not all(criteria) or query.limit < 1:
        return []
    shape, values = where
    values = {**values, **_bounds(query), "limit": query.limit}
    if not criteria:
        statement = statements.once(("walk", shape), lambda: _walk(shape))
        return [found[1] for found in (yield statement.sql, statement.bind(values))]
    walked, probed = yield from _rarest_first(criteria, values, statements)
    return (
        yield from _merged(walked, probed, shape=shape, values=values, statements=statements)
    )


def _bounds(query: Lookup) -> Values:
    """Express the period and the place to start after as one period, and what to leave out at its end."""
    first: Any = _EARLIEST if query.started.start is None else query.started.start
    last: Any = _LATEST if query.started.stop is None else query.started.stop - 1  # type: ignore[operator]  # a span of integers
    if query.before is None:
        return {"first": first, "last": last, "at": last, "before_id": _AFTER_EVERY_ID}
    at, contact_id = query.before
    return {"first": first, "last": min(last, at), "at": at, "before_id": contact_id}


def _rarest_first(
    criteria: list[list[bytes]], values: Values, statements: Statements
) -> Asking[tuple[list[bytes], list[list[bytes]]]]:
    """Choose the criterion that the fewest contacts meet or, where all are common, the least dense one.

    That is the one whose newest so many contacts reach back furthest.
    """
    if len(criteria) == 1:
        return criteria[0], []
    statement = statements.once("glance", _glance)

    def seen(criterion: Collection[bytes], most: int) -> Asking[tuple[int, int]]:
        count, oldest = 0, _EARLIEST
        for token in criterion:
            given = {**values, "token": token, "limit": most}
            ((found, earliest),) = yield statement.sql, statement.bind(given)
            count, oldest = count + found, max(oldest, int(earliest))
        return min(most, count), oldest

    rarity: list[tuple[int, int]] = []
    for most in (_GLANCE, _LONG_GLANCE):
        rarity = []
        for criterion in criteria:
            rarity.append((yield from seen(criterion, most)))
        if min(rarity)[0] < most:
            break
    rarest = rarity.index(min(rarity))
    return criteria[rarest], criteria[:rarest] + criteria[rarest + 1 :]


def _merged(
    walked: Sequence[bytes],
    probed: Sequence[Sequence[bytes]],
    *,
    shape: Shape,
    values: Values,
    statements: Statements,
) -> Asking[list[str]]:
    """Walk each token of a criterion, and merge what they find, each contact once."""
    sizes = tuple(1 << (len(tokens) - 1).bit_length() for tokens in probed)
    statement = statements.once(("probe", sizes, shape), lambda: _probe(sizes, shape))
    probes = {
        f"probe_{c}_{n}": tokens[min(n, len(tokens) - 1)]
        for c, (tokens, size) in enumerate(zip(probed, sizes, strict=True))
        for n in range(size)
    }
    walks: list[list[tuple[int, str]]] = []
    for token in walked:
        given = {**values, **probes, "token": token}
        rows = yield statement.sql, statement.bind(given)
        walks.append([(at, contact_id) for at, contact_id in rows])
    found = (place for place, _ in groupby(merge(*walks, reverse=True)))
    limit: Any = values["limit"]
    return [contact_id for _, contact_id in islice(found, limit)]


def _glance() -> Select[int, int]:
    seen: Select[Any] = (
        select(_TOKENS.c.started_at)
        .where(_TOKENS.c.token == bindparam("token"), *_within(_TOKENS.c.started_at))
        .order_by(_TOKENS.c.started_at.desc())
        .limit(bindparam("limit"))
    )
    oldest = func.min(seen.subquery().c.started_at)
    return select(func.count(), func.coalesce(oldest, literal_column(str(_EARLIEST))))


def _probe(sizes: tuple[int, ...], shape: Shape) -> Select[tuple[int, str]]:
    walked = _TOKENS.alias("walked")
    query = select(walked.c.started_at, walked.c.contact_id).where(
        walked.c.token == bindparam("token"),
        *_within(walked.c.started_at),
        _after(walked.c.started_at, walked.c.contact_id),
    )
    for c, size in enumerate(sizes):
        probed = _TOKENS.alias(f"probed_{c}")
        query = query.where(
            exists().where(
                probed.c.token.in_([bindparam(f"probe_{c}_{n}") for n in range(size)]),
                probed.c.started_at == walked.c.started_at,
                probed.c.contact_id == walked.c.contact_id,
            )
        )
    if shape:
        contact = exists().where(_CONTACTS.c.id == walked.c.contact_id, *met(_CONTACTS, shape))
        query = query.where(contact)
    newest = (walked.c.started_at.desc(), walked.c.contact_id.desc())
    return query.order_by(*newest).limit(bindparam("limit"))


def _walk(shape: Shape) -> Select[tuple[int, str]]:
    started_at, contact_id = _CONTACTS.c.started_at, _CONTACTS.c.id
    return (
        select(started_at, contact_id)
        .where(*_within(started_at), _after(started_at, contact_id), *met(_CONTACTS, shape))
        .order_by(started_at.desc(), contact_id.desc())
        .limit(bindparam("limit"))
    )


def _within(started_at: ColumnElement[int]) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return started_at >= bindparam("first"), started_at <= bindparam("last")


def _after(
    started_at: ColumnElement[int], contact_id: ColumnElement[str]
) -> ColumnElement[bool]:
    return or_(started_at != bindparam("at"), contact_id < bindparam("before_id"))
