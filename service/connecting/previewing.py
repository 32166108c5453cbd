"""Previewing a field map on a real delivery: what each rule finds, and which contact would come out.

Whoever connects a source opens no contacts. So what could name a person is shown by its shape alone (``+999 99``,
``xxxxx.xxxxx@xxxxx.xx``), and each look is in the log.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from service.access.entries import entry
from service.archive.deliveries import DeliveryOpener
from service.connecting.sources import Sources
from service.domain.actor import Actor
from service.domain.contact import ContactFacts
from service.domain.errors import InvalidInputError, NotFoundError, UnavailableError
from service.domain.ids import parse_id
from service.log.entry import EntryType
from service.sources.field_map import FIELDS, FieldMap, MappedField, contact_from
from service.sources.json_pointer import leaves_of
from service.sources.strict_json import decode_json
from storage.ports import Store
from storage.rows import DeliveryRow

MAX_LEAVES: Final = 200
_MAX_SHAPE: Final = 40
# Their values are of a closed list, or times: what was found there and is well says nothing of anybody.
_PLAIN: Final = frozenset({"channel", "direction", "recording", "started_at", "ended_at"})


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value of the delivery: where it stands, and its shape."""

    pointer: str
    shape: str


@dataclass(frozen=True, slots=True)
class ShownField:
    """What a rule came to: the value where it says nothing of anybody, else its shape; or what is wrong."""

    name: str
    value: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Preview:
    """A delivery through a field map. ``fault`` is what keeps it from being a contact; ``facts`` are that contact."""

    delivery_id: str
    leaves: tuple[Leaf, ...]
    fields: tuple[ShownField, ...]
    facts: ContactFacts | None
    remarks: tuple[str, ...] = ()
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Previews:
    """The use case of previewing."""

    store: Store
    opener: DeliveryOpener
    sources: Sources

    async def preview(
        self,
        name: str,
        texts: Mapping[str, str],
        *,
        delivery_id: str | None,
        actor: Actor,
        now: datetime,
    ) -> Preview | None:
        """Return what the rules of ``texts`` make of a delivery, the newest one by default; None while there is none.

        The look is recorded before anything is opened.

        Raises:
            NotPermittedError: The actor does not manage sources.
            NotFoundError: There is no such source, or no such delivery of it.
            UnavailableError: The keys are not at hand.
            TamperedError: The delivery was altered.
        """
        source = await self.sources.get(name, actor=actor)
        rows = await self._rows(name, delivery_id)
        if not rows:
            return None
        looked = entry(
            EntryType.SOURCE_PREVIEWED,
            rows[0].id,
            actor=actor.id,
            at=now,
            data={"source": name, "fields": tuple(sorted(texts))},
        )
        await self.store.commit([looked])
        opened = await self.opener.open(rows)
        if rows[0].id not in opened:
            raise UnavailableError("the delivery cannot be opened any more")
        try:
            document = decode_json(opened[rows[0].id].body)
        except InvalidInputError as error:
            return Preview(rows[0].id, (), (), None, fault=error.detail)
        leaves = tuple(
            Leaf(str(pointer), shape_of(value))
            for pointer, value in leaves_of(document, limit=MAX_LEAVES)
        )
        try:
            rules = FieldMap.parse(texts)
        except InvalidInputError as error:
            return Preview(rows[0].id, leaves, (), None, fault=error.detail)
        mapped = rules.apply(document, source.rule)
        fields = tuple(_shown(one) for one in mapped if not one.name.startswith("messages."))
        try:
            if any(one.error for one in mapped):
                return Preview(rows[0].id, leaves, fields, None)
            understood = contact_from(mapped, source.rule, now)
        except InvalidInputError as error:
            return Preview(rows[0].id, leaves, fields, None, fault=error.detail)
        return Preview(rows[0].id, leaves, fields, understood.contacts[0], understood.remarks)

    async def _rows(self, name: str, delivery_id: str | None) -> Sequence[DeliveryRow]:
        states = ["received", "understood", "waiting", "trial", "failed"]
        where = {"source": name, "kind": "contact", "state": states}
        if delivery_id is None:
            return await self.store.find(DeliveryRow, where, order=("-received_at",), limit=1)
        rows = await self.store.find(DeliveryRow, {**where, "id": parse_id("dl", delivery_id)})
        if not rows:
            raise NotFoundError("no such delivery")
        return rows


def shape_of(value: object) -> str:
    """Return the shape of a value: letters as ``x``, digits as ``9``, what stands between as it is; shortened.

    A truth value, null and an empty text, list or object have no more to them.
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict | list):
        return "{}" if isinstance(value, dict) else "[]"
    text = value if isinstance(value, str) else str(value)
    shown = "".join(map(_shape, text[:_MAX_SHAPE]))
    cut = "…" if len(text) > _MAX_SHAPE else ""
    return f'"{shown}{cut}"' if isinstance(value, str) else shown + cut


def _shape(character: str) -> str:
    category = unicodedata.category(character)
    if category.startswith(("L", "M")):
        return "x"
    if category.startswith("N"):
        return "9"
    return character if character.isascii() and character.isprintable() else "·"


def _shown(mapped: MappedField) -> ShownField:
    if mapped.name not in FIELDS or mapped.value is None:
        return ShownField(mapped.name, None, mapped.error)
    if isinstance(mapped.value, list):
        return ShownField(mapped.name, f"[{len(mapped.value)}]", mapped.error)
    return ShownField(mapped.name, _clear_or_shape(mapped.name, mapped.value), mapped.error)


def _clear_or_shape(name: str, value: object) -> str:
    is_clear = name in _PLAIN and isinstance(value, str)
    return str(value) if is_clear else shape_of(value)
