"""The desk on the archive's use cases: what the pages show, gathered."""
# ruff: noqa: D102  # the protocol says what the methods promise

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec

from service.access.users import Users
from service.archive.attention import Attention
from service.archive.attention import AttentionItem as Raised
from service.archive.contacts import Contacts, ContactView
from service.archive.grants import Grants, find_grant
from service.archive.lookup import Criteria, Finder, Found, Page
from service.archive.message_versions import MessageView
from service.archive.open import Opener
from service.archive.targets import Asked, Rendition, Subject
from service.archive.unmask import read_masked, read_unmasked, read_whole, unmask
from service.archive.verify import Verifier
from service.domain.actor import Actor
from service.domain.customer import Customer, LinkState
from service.domain.errors import (
    ArchiveError,
    GrantRequiredError,
    NotFoundError,
    NotPermittedError,
)
from service.domain.masking import Masked, mask_contact
from service.domain.permission import Permission, is_permitted
from service.domain.purpose import Grant, Purpose, require_grant
from service.sources.kinds import Stereo
from service.sources.mail.markup import UnsafeError, sanitise
from service.sources.mail.mask import mask_markup
from service.sources.mail.verdicts import Verdicts
from service.web.detail import (
    OBJECT_KINDS,
    opening_view,
    recording_views,
    role_of,
    stray_pauses,
    summary_of,
)
from service.web.mail_views import mail_view
from service.web.verdicts import verification_view
from service.web.views import (
    AttentionItem,
    AttentionPage,
    ContactDetail,
    CustomerHistory,
    CustomerSummary,
    FoundContact,
    FoundPage,
    LinkView,
    OpenedMail,
    OpenedMessage,
    OpeningView,
    Verification,
    Waveform,
)
from service.worker.media.peaks import decode_peaks

_PAGE = 50
_GRANTS_LOOKED_AT = 50


@dataclass(frozen=True, slots=True)
class ArchiveDesk:
    """`service.web.desk.Desk` on the use cases."""

    finder: Finder
    contacts: Contacts
    grants: Grants
    opener: Opener
    verifier: Verifier
    items: Attention
    users: Users
    stereo_of: Callable[[str], Stereo]

    async def search(
        self, criteria: Criteria, *, actor: Actor, cursor: str | None, now: datetime
    ) -> FoundPage:
        page = await self.finder.find(
            criteria, actor=actor, cursor=cursor, limit=_PAGE, now=now
        )
        return await self._page(page)

    async def customer_history(
        self, customer_id: str, *, actor: Actor, cursor: str | None, now: datetime
    ) -> CustomerHistory:
        customer = await self.contacts.get_customer(customer_id, actor=actor)
        page = await self.search(
            Criteria(customer_number=customer.number), actor=actor, cursor=cursor, now=now
        )
        return CustomerHistory(customer=customer, page=page)

    async def contact_detail(
        self, contact_id: str, *, actor: Actor, now: datetime
    ) -> ContactDetail:
        view = await self.contacts.get(contact_id, actor=actor)
        contact = mask_contact(view.contact)
        return ContactDetail(
            contact=contact,
            links=await self._links(view),
            recordings=recording_views(
                view, actor_id=actor.id, stereo=self.stereo_of(view.contact.source)
            ),
            message_count=len(view.messages),
            grant=await self._grant(view.contact.id, actor=actor, now=now),
            openings=await self._openings(view, actor=actor),
            pauses=stray_pauses(view, contact),
        )

    async def verification(
        self, contact_id: str, *, actor: Actor, now: datetime
    ) -> Verification:
        return verification_view(await self.verifier.verify(contact_id, actor=actor, now=now))

    async def create_grant(
        self,
        contact_id: str,
        *,
        actor: Actor,
        purpose: Purpose,
        reference: str | None,
        now: datetime,
    ) -> Grant:
        return await self.grants.create(
            actor=actor, purpose=purpose, contact_ids=[contact_id], reference=reference, now=now
        )

    async def withdraw_grant(self, grant_id: str, *, actor: Actor, now: datetime) -> None:
        await self.grants.withdraw(grant_id, actor=actor, now=now)

    async def open_messages(
        self,
        contact_id: str,
        *,
        grant_id: str,
        actor: Actor,
        now: datetime,
        unmasked: str | None = None,
    ) -> tuple[OpenedMessage, ...]:
        view = await self.contacts.get(contact_id, actor=actor)
        return tuple(
            [
                await self._opened(
                    message,
                    view,
                    actor=actor,
                    grant_id=grant_id,
                    now=now,
                    is_unmasked=message.id == unmasked,
                )
                for message in view.messages
            ]
        )

    async def open_mail(
        self, contact_id: str, message_id: str, *, grant_id: str, actor: Actor, now: datetime
    ) -> OpenedMail:
        view = await self.contacts.get(contact_id, actor=actor)
        message = next((one for one in view.messages if one.id == message_id), None)
        if message is None:
            raise NotFoundError(f"{contact_id} has no message {message_id}")
        opened = await self._opened(message, view, actor=actor, grant_id=grant_id, now=now)
        html: Masked | None = None
        if opened.mail is not None and opened.mail.has_html:
            asked = Asked(Subject.MESSAGE, message_id, Rendition.HTML)
            try:
                markup = (await self._read(asked, actor, grant_id, now)).decode()
                # Made safe when it came; what has been learned since counts as well.
                html = await asyncio.to_thread(_shown_html, markup)
            except GrantRequiredError:
                raise
            except (ArchiveError, UnsafeError):
                html = None
        if html is None:
            return OpenedMail(message=opened, html=None)
        return OpenedMail(message=replace(opened, hidden=html.hidden), html=html.text)

    async def _opened(
        self,
        message: MessageView,
        view: ContactView,
        *,
        actor: Actor,
        grant_id: str,
        now: datetime,
        is_unmasked: bool = False,
    ) -> OpenedMessage:
        shown, fault, verdicts = Masked("", 0), None, None
        try:
            shown = await self._message(
                message.id, actor, grant_id, now, is_unmasked=is_unmasked
            )
        except (GrantRequiredError, NotPermittedError):
            raise
        except ArchiveError as error:
            fault = error.code
        if message.mail is not None and fault is None:
            verdicts = await self._verdicts(
                message.id, view, actor=actor, grant_id=grant_id, now=now
            )
        return OpenedMessage(
            id=message.id,
            sender=message.sender,
            sent_at=message.sent_at,
            text=shown.text,
            hidden=shown.hidden,
            role=message.writer or role_of(message.sender, view.contact),
            fault=fault,
            mail=mail_view(message.mail, verdicts) if message.mail else None,
            change=message.change,
            changed_at=message.changed_at,
            is_internal=message.is_internal,
            is_replaced=message.is_replaced,
            of=message.of,
        )

    async def _verdicts(
        self,
        message_id: str,
        view: ContactView,
        *,
        actor: Actor,
        grant_id: str,
        now: datetime,
    ) -> Verdicts | None:
        made = (one for one in view.objects.values() if one.owner_id == message_id)
        if all(one.kind != Rendition.VERDICTS for one in made):
            return None
        asked = Asked(Subject.MESSAGE, message_id, Rendition.VERDICTS)
        try:
            told = await self._read(asked, actor, grant_id, now)
            return msgspec.json.decode(told, type=Verdicts)
        except GrantRequiredError:
            raise
        except (ArchiveError, msgspec.MsgspecError):
            return Verdicts(problem="unreadable")

    async def waveform(
        self, recording_id: str, *, grant_id: str, actor: Actor, now: datetime
    ) -> Waveform | None:
        asked = Asked.parse(Subject.RECORDING, recording_id, rendition="peaks")
        try:
            peaks = decode_peaks(await self._read(asked, actor, grant_id, now))
        except NotFoundError:
            return None
        return Waveform(
            seconds_per_bucket=peaks.samples_per_bucket / peaks.sample_rate_hz,
            channels=peaks.channels,
        )

    async def decide_link(
        self,
        contact_id: str,
        customer_id: str,
        *,
        is_theirs: bool,
        actor: Actor,
        now: datetime,
    ) -> None:
        state = LinkState.LINKED if is_theirs else LinkState.UNLINKED
        await self.contacts.link(contact_id, customer_id, state=state, actor=actor, now=now)

    async def attention(
        self, *, actor: Actor, cursor: str | None, include_settled: bool, now: datetime
    ) -> AttentionPage:
        page = await self.items.find_page(
            actor=actor, include_settled=include_settled, cursor=cursor, limit=_PAGE
        )
        items = [await self._attention_item(item, actor=actor, now=now) for item in page.items]
        return AttentionPage(
            items=tuple(items), next_cursor=page.next, previous_cursor=page.previous
        )

    async def retry_attention(self, item_id: str, *, actor: Actor, now: datetime) -> bool:
        return not (await self.items.retry(item_id, actor=actor, now=now)).is_open

    async def settle_attention(self, item_id: str, *, actor: Actor, now: datetime) -> None:
        await self.items.settle(item_id, actor=actor, now=now)

    # -- what the methods above have in common

    async def _page(self, page: Page) -> FoundPage:
        ids = {link.customer_id for found in page.contacts for link in found.links}
        customers = await self._summaries(ids)
        return FoundPage(
            found=tuple(_found(found, customers) for found in page.contacts),
            next_cursor=page.next,
            unreadable=page.unreadable,
            customers=tuple(summary_of(customer) for customer in page.customers),
            has_more_customers=page.has_more_customers,
        )

    async def _summaries(self, ids: Collection[str]) -> Mapping[str, CustomerSummary]:
        customers: Sequence[Customer] = await self.contacts.find_customers(sorted(ids))
        return {customer.id: summary_of(customer) for customer in customers}

    async def _links(self, view: ContactView) -> tuple[LinkView, ...]:
        customers = {customer.id: summary_of(customer) for customer in view.customers}
        names = await self._names({link.made_by for link in view.links})
        return tuple(
            LinkView(
                link=link,
                customer=customers[link.customer_id],
                made_by_name=names.get(link.made_by),
            )
            for link in view.links
            if link.customer_id in customers
        )

    async def _openings(self, view: ContactView, *, actor: Actor) -> tuple[OpeningView, ...]:
        names = await self._names({row.actor_id for row in view.openings})
        store, vault = self.grants.store, self.grants.vault
        known = {
            grant_id: await find_grant(store, vault, grant_id)
            for grant_id in {row.grant_id for row in view.openings}
        }
        return tuple(
            opening_view(
                row,
                view,
                grant=grant,
                actor_name=names.get(row.actor_id, row.actor_id),
                is_own=row.actor_id == actor.id,
            )
            for row in view.openings
            if (grant := known[row.grant_id]) is not None
            and row.object_id in view.objects
            and view.objects[row.object_id].kind in OBJECT_KINDS
        )

    async def _names(self, ids: Collection[str]) -> Mapping[str, str]:
        names = {}
        for one in sorted(ids):
            try:
                names[one] = (await self.users.get(one)).user.name
            except NotFoundError:
                # A machine, the archive itself, or somebody who was erased: their id says enough.
                continue
        return names

    async def _grant(self, contact_id: str, *, actor: Actor, now: datetime) -> Grant | None:
        """Return the actor's newest grant for the contact that is valid now."""
        if not is_permitted(actor, Permission.GRANT):
            return None
        page = await self.grants.list(actor=actor, limit=_GRANTS_LOOKED_AT)
        for grant in page.grants:
            try:
                require_grant(grant, actor, contact_id, now=now)
            except GrantRequiredError:
                continue
            return grant
        return None

    async def _read(self, asked: Asked, actor: Actor, grant_id: str, now: datetime) -> bytes:
        content = await self.opener.open(asked, actor=actor, grant_id=grant_id, now=now)
        with self.opener.openings.using(content):
            data = await read_whole(content)
            content.track.note_sent(0, content.size_bytes)
        return data

    async def _message(
        self, message_id: str, actor: Actor, grant_id: str, now: datetime, *, is_unmasked: bool
    ) -> Masked:
        """Return the text of a message as it is shown, masked or not."""
        opened = unmask if is_unmasked else Opener.open
        asked = Asked(Subject.MESSAGE, message_id)
        content = await opened(self.opener, asked, actor=actor, grant_id=grant_id, now=now)
        with self.opener.openings.using(content):
            shown = await (read_unmasked if is_unmasked else read_masked)(content)
            content.track.note_sent(0, content.size_bytes)
        return shown

    async def _attention_item(
        self, item: Raised, *, actor: Actor, now: datetime
    ) -> AttentionItem:
        detail = None
        if item.is_open and "not_understood" in item.reasons:
            detail = await self.items.explain(item.id, actor=actor, now=now)
        return AttentionItem(
            id=item.id,
            reasons=item.reasons,
            about=item.about,
            source=item.source,
            raised_at=item.raised_at,
            contact_id=item.about if item.about.startswith("ct_") else None,
            fields=item.fields,
            detail=detail,
            can_retry=item.can_be_retried,
            is_open=item.is_open,
        )


def _found(found: Found, customers: Mapping[str, CustomerSummary]) -> FoundContact:
    return FoundContact(
        contact=mask_contact(found.contact),
        matched_by=found.matched_by,
        customers=tuple(
            customers[link.customer_id]
            for link in found.links
            if link.state is LinkState.LINKED and link.customer_id in customers
        ),
    )


def _shown_html(markup: str) -> Masked:
    """Return formatted text as it is shown: safe, and masked."""
    return mask_markup(sanitise(markup))
