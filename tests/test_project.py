"""What holds for the tree as a whole."""

import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = ("requirements.lock", "requirements-dev.lock")
FOLDERS = ("service", "storage", "tests", "bench", "deploy", "docs", "tools", ".ci")
# Each in two halves, so that this file does not name them either.
UNWANTED = [
    pytest.param("pypi" + r"\.org|python" + "hosted", id="the address of a package index"),
    pytest.param(r"(?<![\w.])/" + r"(work|opt|root)/\w", id="a path of one machine"),
    pytest.param("playwright" + " install", id="a browser from the network"),
    pytest.param("TO" + r"DO\b(?!\()|FIX" + "ME", id="work left over without a name"),
    pytest.param("AGE-SECRET-KEY-1" + r"[0-9A-Z]{58}\b(?!.*invented)", id="a secret key"),
    pytest.param(r"<<<<" + r"<<< |>>>>" + ">>> ", id="an unfinished merge"),
]


def locked(name: str) -> dict[str, tuple[Version, int]]:
    """Return version and number of hashes of each package in a lock."""
    text = re.sub(r"(?m)^\s*#.*\n?", "", (ROOT / name).read_text()).replace("\\\n", " ")
    packages = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        package, version = line.split()[0].split("==")
        packages[canonicalize_name(package)] = (Version(version), line.count("--hash=sha256:"))
    return packages


def text_files() -> list[Path]:
    files = [path for path in ROOT.iterdir() if path.is_file() and not path.is_symlink()]
    for folder in FOLDERS:
        files += [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    # What has a NUL is sound, a picture or sealed; `.git` is a file in a linked work tree, and none of ours.
    return [path for path in files if path.name != ".git" and b"\0" not in path.read_bytes()]


@pytest.mark.parametrize("name", [*LOCKS, "requirements-s3.lock", "requirements-postgres.lock"])
def test_a_lock_names_no_index_and_no_place(name):
    text = (ROOT / name).read_text()
    assert not re.search(
        r"://|index-url|find-links|trusted-host|file:/| @ |^/", text, re.MULTILINE
    )


@pytest.mark.parametrize("name", [*LOCKS, "requirements-s3.lock", "requirements-postgres.lock"])
def test_every_locked_package_has_its_hashes(name):
    assert [package for package, (_, hashes) in locked(name).items() if not hashes] == []


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("requirements.lock", PROJECT["dependencies"]),
        ("requirements-dev.lock", PROJECT["dependencies"]),
        ("requirements-dev.lock", PROJECT["optional-dependencies"]["dev"]),
    ],
)
def test_every_dependency_is_locked_at_a_version_that_it_allows(name, wanted):
    packages = locked(name)
    for text in wanted:
        requirement = Requirement(text)
        version, _ = packages[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{text}: run `make lock`"


def test_what_is_tested_is_what_runs():
    tested = locked("requirements-dev.lock")
    for package, (version, _) in locked("requirements.lock").items():
        assert tested[package][0] == version


def test_nothing_is_locked_that_nothing_asks_for():
    for name in LOCKS:
        text = (ROOT / name).read_text()
        assert text.count("# via") == len(locked(name))


@pytest.mark.parametrize("pattern", UNWANTED)
def test_no_file_has(pattern):
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in text_files()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1)
        if re.search(pattern, line)
    ]
    assert found == []


def test_every_exception_to_a_rule_says_which_and_why():
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in text_files()
        if path.suffix == ".py"
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if re.search(r"# (noqa|type: ignore)(?!(: |\[)[A-Za-z0-9, \]-]+  # \S)", line)
    ]
    assert found == []


@pytest.mark.parametrize(
    "name",
    ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE", "config.toml"],
)
def test_the_tree_has(name):
    assert (ROOT / name).stat().st_size > 200


def test_make_lists_its_targets():
    listed = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    targets = {line.split()[1] for line in listed.splitlines()}
    assert {"demo", "run", "check", "test", "bench", "bench-long", "lock", "clean"} <= targets


def test_the_command_that_the_pages_name_runs_from_anywhere_and_nothing_that_lies_there(
    tmp_path,
):
    (tmp_path / "service").mkdir()
    for name in ("service/__init__.py", "service/__main__.py", "uvloop.py", "asyncio.py"):
        (tmp_path / name).write_text("raise SystemExit(0)")
    command = Path(sys.executable).parent / "taltio"
    ran = subprocess.run(
        [command, "--help"], check=False, cwd=tmp_path, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("usage: taltio")


def test_continuous_integration_runs_make_test_and_nothing_else():
    script = ROOT / ".ci/run"
    commands = [
        line
        for line in script.read_text().splitlines()
        if line and not line.startswith(("#", "set ", "cd "))
    ]
    assert commands == ["make test"]
    assert os.access(script, os.X_OK)


def test_the_service_runs_without_what_only_tests_need():
    needed = set(locked("requirements.lock"))
    for text in PROJECT["optional-dependencies"]["dev"]:
        assert canonicalize_name(Requirement(text).name) not in needed


def test_the_bill_of_materials_is_the_lock():
    locks = ["requirements.lock", "requirements-postgres.lock"]
    command = [sys.executable, "tools/sbom.py", *locks]
    written = [
        subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout for _ in "ab"
    ]
    assert written[0] == written[1]
    bill = json.loads(written[0])
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    listed = {one["name"]: one for one in bill["components"]}
    packages = {**locked(locks[0]), **locked(locks[1])}
    assert {canonicalize_name(name) for name in listed} == set(packages)
    for name, one in listed.items():
        version, hashes = packages[canonicalize_name(name)]
        assert Version(one["version"]) == version
        assert one["purl"] == f"pkg:pypi/{canonicalize_name(name)}@{one['version']}"
        assert len(one["externalReferences"]) == hashes
    assert sorted(bill["dependencies"][0]["dependsOn"]) == [
        one["purl"] for one in bill["components"]
    ]


@pytest.mark.slow
@pytest.mark.parametrize("change", ["one digit", "none at all"])
def test_a_package_that_is_not_the_one_that_was_locked_is_not_installed(tmp_path, change):
    wheel = tmp_path / "invented-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("invented.py", "")
        archive.writestr(
            "invented-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: invented\nVersion: 1.0\n",
        )
        archive.writestr(
            "invented-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr("invented-1.0.dist-info/RECORD", "")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()

    def install(line):
        (tmp_path / "lock").write_text(f"{line}\n")
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--require-hashes",
            "--only-binary",
            ":all:",
        ]
        command += [
            "--no-index",
            "--find-links",
            tmp_path,
            "--target",
            tmp_path / "there",
            "--no-input",
        ]
        return subprocess.run(
            [*command, "--disable-pip-version-check", "--requirement", tmp_path / "lock"],
            capture_output=True,
            text=True,
            check=False,
        )

    other = f"{int(digest[0], 16) ^ 1:x}{digest[1:]}"
    wrong = f" --hash=sha256:{other}" if change == "one digit" else ""
    refused = install(f"invented==1.0{wrong}")
    assert refused.returncode != 0
    assert "hash" in (refused.stdout + refused.stderr).lower()
    assert not (tmp_path / "there" / "invented.py").exists()
    assert install(f"invented==1.0 --hash=sha256:{digest}").returncode == 0
