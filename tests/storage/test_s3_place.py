"""Credentials come from a file or the environment, and are told to nobody."""

import traceback
from pathlib import Path

import pytest

from storage.errors import UnavailableError
from storage.s3.place import Place


def place(file: Path | None) -> Place:
    return Place(
        endpoint="https://objects.example.fi:8333",
        bucket="b",
        prefix="p",
        region="fi-1",
        credentials_file=file,
    )


def test_a_file_is_read_anew_each_time(tmp_path):
    file = tmp_path / "credentials"
    for number in range(2):
        file.write_text(
            f"[default]\naws_access_key_id = A{number}\naws_secret_access_key = s%{number}\n"
        )
        found = place(file).credentials({"AWS_ACCESS_KEY_ID": "other"})
        assert (found.access_key, found.secret_key) == (f"A{number}", f"s%{number}")


def test_the_environment_has_them_where_no_file_is_named():
    given = {"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}
    found = place(None).credentials(given)
    assert (found.access_key, found.secret_key, found.token) == ("A", "s", "t")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hunter2",
        "[default]\nhunter2",
        "[default]\naws_secret_access_key = hunter2",
        "[other]\naws_access_key_id = A\naws_secret_access_key = hunter2",
        "[default]\naws_access_key_id = A\naws_access_key_id = hunter2",
    ],
)
def test_a_file_without_credentials_is_refused_and_never_repeated(tmp_path, text):
    file = tmp_path / "credentials"
    file.write_text(text)
    with pytest.raises(UnavailableError) as refused:
        place(file).credentials({})
    assert "hunter2" not in "".join(traceback.format_exception(refused.value))


def test_a_missing_file_is_an_error_and_the_environment_is_not_asked(tmp_path):
    with pytest.raises(UnavailableError, match="cannot be read"):
        place(tmp_path / "none").credentials({"AWS_ACCESS_KEY_ID": "A"})


def test_names_stand_under_the_prefix():
    assert place(None).key("ob_1") == "p/ob_1"
    assert place(None).host == "objects.example.fi:8333"
