"""A token in a directory: SoftHSM, made for one test, taken out and put back like one of plastic."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from service.keys.directory import KeyDirectory
from service.keys.pkcs11.pin import PIN_VARIABLE, PinGuard, PinSource
from service.keys.pkcs11.process import Token, TokenPlace

PIN, OFFICER_PIN, LABEL, KEY = "4711-invented", "invented-officer", "archive", "taltio"
MODULES = (
    Path("/usr/lib/softhsm/libsofthsm2.so"),
    Path("/usr/lib64/pkcs11/libsofthsm2.so"),
    Path("/usr/lib64/softhsm/libsofthsm2.so"),
)


@dataclass(frozen=True)
class SoftToken:
    """One initialised token. Whoever starts a process has to pass the variable that leads to it."""

    folder: Path
    module: Path

    @property
    def variables(self) -> dict[str, str]:
        return {"SOFTHSM2_CONF": str(self.folder / "softhsm2.conf")}

    @property
    def _drawer(self) -> Path:
        return self.folder / "drawer"

    def initialise(self, label: str = LABEL) -> None:
        """Make another token."""
        pins = ("--so-pin", OFFICER_PIN, "--pin", PIN)
        subprocess.run(
            ["softhsm2-util", "--init-token", "--free", "--label", label, *pins],
            env={**os.environ, **self.variables},
            check=True,
            capture_output=True,
        )

    def take_out(self) -> None:
        """Take every token out of its slot."""
        (self.folder / "tokens").rename(self._drawer)
        (self.folder / "tokens").mkdir()

    def put_back(self) -> None:
        """Put back what was taken out, instead of what is there."""
        shutil.rmtree(self.folder / "tokens")
        self._drawer.rename(self.folder / "tokens")

    def token(
        self,
        keys: Path,
        *,
        pin: str | Path = PIN,
        label: str = LABEL,
        key: str = KEY,
        wait: float = 20,
        module: Path | None = None,
    ) -> Token:
        source = (
            PinSource(pin) if isinstance(pin, Path) else PinSource(None, {PIN_VARIABLE: pin})
        )
        return Token(
            TokenPlace(module or self.module, label, key),
            pin=source,
            guard=PinGuard(KeyDirectory(keys, archive=keys.parent / "data")),
            wait=timedelta(seconds=wait),
        )

    def settings(self, *, hold: int = 10, wait: int = 5) -> str:
        """Return a section [keys] for this token; the PIN lies in a file beside it."""
        pin = self.folder / "pin"
        if not pin.exists():
            pin.write_text(f"{PIN}\n")
            pin.chmod(0o400)
        return (
            f'[keys]\nprovider = "pkcs11"\npkcs11_module = "{self.module}"\npkcs11_token = "{LABEL}"\n'
            f'pkcs11_pin_file = "{pin}"\npkcs11_hold_seconds = {hold}\npkcs11_wait_seconds = {wait}\n'
        )


def made_token(folder: Path, set_variable: Callable[[str, str], None]) -> SoftToken:
    """Make a token in ``folder``, and a key on it."""
    module = next((path for path in MODULES if path.exists()), None)
    if module is None or shutil.which("softhsm2-util") is None:
        pytest.skip("SoftHSM is absent: install softhsm2")
    (folder / "tokens").mkdir(parents=True)
    (folder / "softhsm2.conf").write_text(
        f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    made = SoftToken(folder, module)
    for name, value in made.variables.items():
        set_variable(name, value)
    made.initialise()
    return made
