"""Files made here open with other programs, and theirs open here."""

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyrage
import pytest

from service.crypto.file import seal_file
from service.crypto.recipients import HybridIdentity, X25519Identity
from tests.crypto.age_file import open_file

_SIZES = [0, 1, 65535, 65536, 65537, 131072, 300000]


@dataclass(frozen=True)
class Program:
    encrypt: Callable[[bytes, X25519Identity], bytes]
    decrypt: Callable[[bytes, X25519Identity], bytes]


def _age(tmp_path: Path) -> Program:
    if shutil.which("age") is None:
        pytest.skip("the program age is absent: apt install age")
    key_file = tmp_path / "identity.txt"

    def encrypt(plain: bytes, identity: X25519Identity) -> bytes:
        command = ["age", "--encrypt", "--recipient", str(identity.recipient)]
        return subprocess.run(command, input=plain, capture_output=True, check=True).stdout

    def decrypt(sealed: bytes, identity: X25519Identity) -> bytes:
        key_file.write_text(identity.format_secret() + "\n")
        command = ["age", "--decrypt", "--identity", str(key_file)]
        return subprocess.run(command, input=sealed, capture_output=True, check=True).stdout

    return Program(encrypt, decrypt)


def _pyrage(_: Path) -> Program:
    def encrypt(plain: bytes, identity: X25519Identity) -> bytes:
        return pyrage.encrypt(
            plain, [pyrage.x25519.Recipient.from_str(str(identity.recipient))]
        )

    def decrypt(sealed: bytes, identity: X25519Identity) -> bytes:
        key = pyrage.x25519.Identity.from_str(identity.format_secret())
        return pyrage.decrypt(sealed, [key])

    return Program(encrypt, decrypt)


@pytest.fixture(params=[_age, _pyrage], ids=["age", "pyrage"])
def program(request, tmp_path):
    return request.param(tmp_path)


@pytest.mark.parametrize("size", _SIZES)
def test_another_program_opens_what_is_sealed_here(program, size):
    identity, plain = X25519Identity.generate(), bytes(range(256)) * 1200
    sealed = seal_file(plain[:size], [identity.recipient])
    assert program.decrypt(sealed, identity) == plain[:size]


@pytest.mark.parametrize("size", _SIZES)
def test_what_another_program_sealed_opens_here(program, size):
    identity, plain = X25519Identity.generate(), bytes(range(256)) * 1200
    sealed = program.encrypt(plain[:size], identity)
    assert open_file(sealed, [identity]) == plain[:size]


@pytest.mark.parametrize("size", _SIZES)
def test_a_hybrid_file_opens_here(size):
    identity, plain = HybridIdentity.generate(), bytes(range(256)) * 1200
    assert open_file(seal_file(plain[:size], [identity.recipient]), [identity]) == plain[:size]
