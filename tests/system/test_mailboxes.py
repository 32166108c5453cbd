"""What reads mailboxes, built from settings: files that cannot be used are named, and nothing in them."""

from datetime import UTC, datetime

import pytest

from service.config import parse_config
from service.config.roles import ProcessRole
from service.domain.errors import InvalidInputError
from service.mailboxes import mailboxes_of
from service.wiring import key_provider, opened_archive
from tests.conftest import NOW

SECRET = "hush-hush"
MAILBOX = """
[archive]
timezone = "Europe/Helsinki"
[[sources]]
name = "post"
kind = "mail"
imap_server = "mail.example.fi:993"
imap_user = "arkisto"
imap_password_file = "imap.password"
imap_mailboxes = ["INBOX", "Maija M"]
imap_since = "2026-11-22"
"""


@pytest.fixture
def password(tmp_path):
    file = tmp_path / "imap.password"
    file.write_text(f"{SECRET}\n")
    file.chmod(0o400)
    return file


async def built(tmp_path, *more, role=ProcessRole.ALL):
    config = parse_config(MAILBOX + "\n".join(more), base=tmp_path)
    key_provider(config).create(now=NOW)
    async with opened_archive(config, create=True) as archive:
        return mailboxes_of(
            archive, role, clock=lambda: datetime.now(UTC), offer=lambda _: None
        ).asking


@pytest.mark.usefixtures("password")
async def test_each_mailbox_is_read_by_itself_and_called_by_a_number(tmp_path):
    asking = await built(tmp_path)
    assert [one.name for one in asking] == ["mailbox post 1", "mailbox post 2"]
    (first, _) = (one.ask.__self__ for one in asking)
    assert first.rules.since == datetime(2026, 11, 21, 22, tzinfo=UTC)
    assert first.rules.password == SECRET
    assert not any(one in repr(first) for one in (SECRET, "arkisto", "Maija"))


@pytest.mark.usefixtures("password")
@pytest.mark.parametrize("role", [ProcessRole.INTAKE, ProcessRole.DESK])
async def test_only_a_worker_reads_mailboxes(tmp_path, role):
    assert await built(tmp_path, role=role) == ()


@pytest.mark.parametrize(
    ("break_it", "why"),
    [
        pytest.param(lambda file: file.unlink(), "cannot be read", id="missing"),
        pytest.param(lambda file: file.chmod(0o644), "others may read", id="open to others"),
        pytest.param(
            lambda file: file.chmod(0o600) or file.write_text("\n"), "not one line", id="empty"
        ),
        pytest.param(
            lambda file: file.chmod(0o600) or file.write_text(f"{SECRET}\nmore\n"),
            "not one line",
            id="two lines",
        ),
        pytest.param(
            lambda file: file.chmod(0o600) or file.write_bytes(b"\xff"),
            "cannot be read",
            id="no text",
        ),
    ],
)
async def test_a_password_file_that_cannot_be_used_is_named_and_not_shown(
    tmp_path, password, break_it, why
):
    break_it(password)
    with pytest.raises(InvalidInputError, match=why) as refused:
        await built(tmp_path)
    assert str(password) in refused.value.detail
    assert SECRET not in refused.value.detail


@pytest.mark.usefixtures("password")
async def test_an_authority_that_is_none_is_named(tmp_path):
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(InvalidInputError, match=r"imap_certificate_authority: .*ca\.pem"):
        await built(tmp_path, 'imap_certificate_authority = "ca.pem"')
