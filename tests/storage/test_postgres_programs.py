"""PostgreSQL's own programs: the right one is found or named, and no secret is where others can read it."""

import os

import pytest

from storage.database.postgres.programs import environment_of, find_program, running
from storage.errors import UnavailableError


def program(folder, version):
    """Return a program of PostgreSQL ``version`` that does nothing else than say so."""
    path = folder / f"pg_dump-{version}"
    path.write_text(
        f"#!/bin/sh\necho 'pg_dump (PostgreSQL) {version}.4 (Debian {version}.4-1)'\n"
    )
    path.chmod(0o700)
    return path


@pytest.mark.parametrize(
    ("installed", "server", "chosen"),
    [
        ((14, 15, 17), 15, 15),
        ((14, 16, 17), 15, 16),
        ((17,), 14, 17),
    ],
)
def test_the_program_of_the_server_s_version_is_taken_or_the_next_newer(
    tmp_path, installed, server, chosen
):
    places = [program(tmp_path, version) for version in installed]
    found = find_program("pg_dump", major=server, places=places)
    assert found.name == f"pg_dump-{chosen}"


@pytest.mark.parametrize(
    ("installed", "said"),
    [
        ((), "pg_dump is not installed"),
        ((13, 14), "is of PostgreSQL 14, and the server of PostgreSQL 15"),
    ],
)
def test_where_none_suits_the_package_is_named(tmp_path, installed, said):
    places = [program(tmp_path, version) for version in installed]
    with pytest.raises(UnavailableError, match=f"{said}.*postgresql-client-15"):
        find_program("pg_dump", major=15, places=places)


def test_what_is_no_program_of_postgresql_is_passed_over(tmp_path):
    stranger = tmp_path / "stranger"
    stranger.write_text("#!/bin/sh\necho 99\n")
    stranger.chmod(0o700)
    with pytest.raises(UnavailableError, match="not installed"):
        find_program("pg_dump", major=15, places=[stranger, tmp_path / "missing"])


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        (
            "postgresql://taltio@db1,db2:6432/calls?sslmode=verify-full&passfile=/etc/pgpass",
            {
                "PGHOST": "db1,db2",
                "PGPORT": ",6432",
                "PGUSER": "taltio",
                "PGDATABASE": "calls",
                "PGSSLMODE": "verify-full",
                "PGPASSFILE": "/etc/pgpass",
                "PGTARGETSESSIONATTRS": "read-write",
            },
        ),
        (
            "postgresql://taltio@/calls?host=/run/postgresql&synchronous_commit=on",
            {"PGHOST": "/run/postgresql", "PGDATABASE": "calls"},
        ),
        ("postgresql://a%40b@[::1]:5433/c%3Dd", {
            "PGHOST": "::1", "PGPORT": "5433", "PGUSER": "a@b", "PGDATABASE": "c=d",
        }),
        ("postgresql://u:secret@localhost/c", {"PGPASSWORD": "secret"}),
        (
            "postgresql:///c?host=one,two&port=1,2&target_session_attrs=primary&user=u",
            {"PGHOST": "one,two", "PGPORT": "1,2", "PGTARGETSESSIONATTRS": "primary", "PGUSER": "u"},
        ),
    ],
)  # fmt: skip
def test_a_url_is_understood_as_the_driver_understands_it(url, wanted):
    found = environment_of(url, called="test")
    assert {name: found.get(name) for name in wanted} == wanted
    assert found["PGAPPNAME"] == "test"


def test_only_what_is_needed_of_our_environment_is_handed_on(monkeypatch):
    monkeypatch.setenv("PGOPTIONS", "-c search_path=public")
    monkeypatch.setenv("TALTIO_SECRET", "x")
    monkeypatch.setenv("PGPASSWORD", "from the environment")
    found = environment_of("postgresql://u@localhost/c", called="test")
    assert not {"PGOPTIONS", "TALTIO_SECRET"} & found.keys()
    assert found["PGPASSWORD"] == "from the environment"  # no secret


def said_by(script):
    with running(["/bin/sh", "-c", script], dict(os.environ), keeps_output=False) as one:
        one.finish(check=lambda: None)


def test_what_a_program_says_is_told_without_values_of_rows():
    line = 'pg_restore: error: COPY failed for table "contacts": ERROR:  invalid input "+358401234567"'
    with pytest.raises(UnavailableError) as refused:
        said_by(f"echo '{line}' >&2; exit 3")
    assert str(refused.value) == 'sh ended with 3: COPY failed for table "contacts"'
    with pytest.raises(UnavailableError, match="does not say why"):
        said_by("exit 1")


class StopError(Exception):
    """Somebody gave up."""


def test_a_program_ends_when_its_user_gives_up():
    def told(_):
        raise StopError

    processes = []

    def use():
        with running(["/bin/sleep", "60"], dict(os.environ), keeps_output=True) as one:
            processes.append(one.process)
            list(one.read(told=told))

    with pytest.raises(StopError):
        use()
    assert processes[0].returncode == -9
