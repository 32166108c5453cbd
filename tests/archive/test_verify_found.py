"""Verifying by what things are found, whose they are, and who may do what; and saying what is not checked."""

from dataclasses import fields, replace

import pytest

from service.archive.checks import Code, Outcome
from service.archive.contact_checks import ContactChecker
from service.archive.verify_all import ArchiveReport, ArchiveVerifier
from service.cli.verify_command import NOT_CHECKED, published_log, report_lines
from service.domain.actor import OPERATOR, Role
from service.domain.customer import LinkState
from storage.ports import Put, Remove
from storage.rows import (
    ContactRow,
    ContactTokenRow,
    CustomerRow,
    CustomerTokenRow,
    LinkRow,
    TokenRow,
    UserRow,
)
from tests.archive.test_spine import call, deliver, import_customers
from tests.archive.test_verify_all import execute
from tests.archive.world import opened_world
from tests.conftest import NOW, actor

COMPANY = {"pbx": ("+358201234567",)}
HANDLER = actor(Role.COMPLAINT_HANDLER)


@pytest.fixture
async def stock(archive):
    """Three customers, a contact linked by itself and by hand, a user and a token."""
    await import_customers(archive, NOW)
    await deliver(archive, call(customer_number="1001"), ident="w-1", now=NOW)
    (contact,) = await archive.stores.store.find(ContactRow, {})
    token = archive.vault.index.token("customer_number", "1002")
    (other,) = await archive.stores.store.find(CustomerRow, {"number_token": token})
    await archive.contacts.link(
        contact.id, other.id, state=LinkState.UNLINKED, actor=HANDLER, now=NOW
    )
    accounts, tokens = archive.access.accounts, archive.access.tokens
    invite = await accounts.add("maija", name="Maija", roles=[Role.AGENT], by=OPERATOR, now=NOW)
    assert invite
    await tokens.create("PBX", role=Role.INTEGRATION, source="pbx", by=OPERATOR, now=NOW)
    return archive


async def failures(archive, config):
    stores = archive.stores
    checker = ContactChecker(stores.store, stores.log, stores.blobs, archive.vault)
    verifier = ArchiveVerifier(
        checker,
        published_log(config, archive.vault.ring),
        company_numbers=COMPANY,
        timezone=config.archive.timezone.key,
    )
    report = await verifier.verify()
    return {one.check.code for one in report.findings if one.check.outcome is Outcome.FAILED}


def flipped(value):
    if value is None:
        return 1
    if isinstance(value, bytes):
        return bytes([value[0] ^ 1]) + value[1:]
    return value ^ 1 if isinstance(value, int) else chr(ord(value[0]) ^ 1) + value[1:]


@pytest.mark.parametrize(
    ("table", "columns", "code"),
    [
        (ContactTokenRow, {"token", "started_at", "contact_id"}, Code.CONTACT_TOKENS),
        (
            CustomerTokenRow,
            {"token", "customer_id", "field", "valid_from", "valid_to"},
            Code.CUSTOMER_ROW,
        ),
        (CustomerRow, {"number_token", "version", "sealed"}, Code.CUSTOMER_ROW),
        (LinkRow, {f.name for f in fields(LinkRow)} - {"version", "contact_id"}, Code.LINKS),
        (UserRow, {"roles"}, Code.ACCOUNT),
        (TokenRow, {"role", "source", "revoked_at"}, Code.ACCOUNT),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
async def test_a_flipped_column_of_what_finds_and_permits_is_named(
    stock, config, table, columns, code
):
    store = stock.stores.store
    assert await failures(stock, config) == set()
    for row in await store.find(table, {}):
        for column in sorted(columns):
            changed = replace(row, **{column: flipped(getattr(row, column))})
            key = tuple(getattr(row, name) for name in table.KEY)
            await store.commit([Remove(table, key), Put(changed)])
            assert code in await failures(stock, config), (table.__name__, column)
            changed_key = tuple(getattr(changed, name) for name in table.KEY)
            await store.commit([Remove(table, changed_key), Put(row)])
    assert await failures(stock, config) == set()


@pytest.mark.parametrize("reasons", ["by_hand", "customer_number"])
async def test_a_link_that_was_removed_is_named(stock, config, reasons):
    store = stock.stores.store
    (row, *_) = [one for one in await store.find(LinkRow, {}) if reasons in one.reasons]
    await store.commit([Remove(LinkRow, (row.contact_id, row.customer_id))])
    assert Code.LINKS in await failures(stock, config)


async def test_an_account_that_was_enabled_behind_the_back_of_the_log_is_named(stock, config):
    store = stock.stores.store
    (row,) = await store.find(UserRow, {})
    await stock.access.accounts.disable(row.id, by=OPERATOR, now=NOW)
    assert await failures(stock, config) == set()
    (row,) = await store.find(UserRow, {})
    await store.commit([Put(replace(row, state="active"))])
    assert await failures(stock, config) == {Code.ACCOUNT}


async def test_what_the_operator_changed_since_is_no_alteration(stock, config):
    (row,) = await stock.stores.store.find(UserRow, {})
    await stock.access.accounts.change_roles(row.id, [Role.DPO], by=OPERATOR, now=NOW)
    (token,) = await stock.stores.store.find(TokenRow, {})
    await stock.access.tokens.revoke(token.id, by=OPERATOR, now=NOW)
    await deliver(
        stock, call(customer_number="1001", metering_point=None), ident="w-2", now=NOW
    )
    assert await failures(stock, config) == set()


@pytest.mark.parametrize("what", ["listed under another", "not listed"])
async def test_an_entry_that_is_not_found_by_what_it_is_about_is_named(tmp_path, what):
    async with opened_world(tmp_path) as world:
        contact_id = await world.call()
        await world.publish()
        entry = (await world.store.log_about(contact_id))[0]
        where = "WHERE subject = ? AND position = ?"
        changed = "UPDATE log_about SET subject = 'ct_other' "
        sql = changed if what == "listed under another" else "DELETE FROM log_about "
        execute(world, sql + where, contact_id, entry.index)
        report = await ArchiveVerifier(world.checker, world.published).verify()
        told = [one.check for one in report.findings if one.check.outcome is Outcome.FAILED]
        assert (Code.LOG_ENTRY, f"entry-{entry.index}") in {
            (one.code, one.about) for one in told
        }


def test_the_answer_says_what_is_not_checked():
    lines = list(report_lines(ArchiveReport(), seconds=1))
    assert NOT_CHECKED in lines
    assert lines[-1] == "Verified: of what is checked, nothing is altered or missing."
