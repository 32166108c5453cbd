"""``taltio sources read-listing``: what a source lists of a period is read now."""

from datetime import UTC, datetime, timedelta

import pytest

from service.cli.commands import build_parser
from service.config import parse_config
from service.domain.errors import InvalidInputError, UnavailableError
from service.wiring import key_provider, opened_archive
from storage.rows import DeliveryRow, ReconciledRow
from tests.answering import answering
from tests.chatwoot import TOKEN, FakeChatwoot, message
from tests.conftest import NOW

TWENTY_DAYS_AGO = datetime.now(UTC) - timedelta(days=20)


def configured(tmp_path, origin, *, token=TOKEN):
    for name, text in (("secret", "invented-and-long"), ("token", token)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    return parse_config(
        f"""
[[sources]]
name = "chat"
kind = "chatwoot"
secret_file = "secret"
listing = "{origin}"
listing_account = 3
listing_token_file = "token"
fetch_origins = ["{origin}"]
fetch_networks = ["127.0.0.0/8"]

[[sources]]
name = "pbx"
kind = "api"
""",
        base=tmp_path,
    )


async def typed(config, name, since):
    words = ["sources", "read-listing", name, "--since", since]
    options = build_parser().parse_args(words)
    return await options.run(config, options)


async def test_a_period_is_read_now(tmp_path, capsys):
    chatwoot = FakeChatwoot({112: [message(1, TWENTY_DAYS_AGO, "kauan sitten")]})
    since = (TWENTY_DAYS_AGO - timedelta(days=1)).date().isoformat()
    async with answering(chatwoot.answer) as server:
        config = configured(tmp_path, server.origin)
        key_provider(config).create(now=NOW)
        async with opened_archive(config, create=True):
            pass
        assert await typed(config, "chat", since) == 0
        table = capsys.readouterr().out.splitlines()
        assert dict(zip(*(line.split("\t") for line in table), strict=True)) == {
            "kept": "1",
            "duplicate": "0",
            "missing": "1",
            "unreadable": "0",
            "cut_short": "0",
        }
        for name, day, words in (
            ("chat", "22.11.2026", "is no day such as"),
            ("chat", "2999-01-01", "has not come yet"),
            ("pbx", since, "pbx has no listing"),
            ("other", since, "is called other"),
        ):
            with pytest.raises(InvalidInputError, match=words):
                await typed(config, name, day)
        with pytest.raises(UnavailableError, match="the access token is not accepted"):
            await typed(
                configured(tmp_path, server.origin, token="another-token"), "chat", since
            )
    async with opened_archive(config) as archive:
        (kept,) = await archive.stores.store.find(DeliveryRow, {})
        (day,) = await archive.stores.store.find(ReconciledRow, {})
    assert (kept.kind, kept.state, day.said) == ("listed", "received", 1)
