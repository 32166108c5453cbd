"""Where a bucket is and who may use it."""

import configparser
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from storage.errors import UnavailableError
from storage.s3.signing import Credentials

_FILE_SECTION: Final = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A bucket, and the part of it that is ours.

    Attributes:
        endpoint: ``https://host`` or ``https://host:port``; the bucket is named in the path.
        prefix: What our names begin with, without a slash at its ends; empty: the whole bucket is ours.
        region: As the signature names it.
        credentials_file: As the AWS tools write it; None: the environment has the credentials.
    """

    endpoint: str
    bucket: str
    prefix: str
    region: str
    credentials_file: Path | None = None

    @property
    def host(self) -> str:
        """The endpoint's host, with its port where it has one."""
        return urlsplit(self.endpoint).netloc

    @property
    def is_http(self) -> bool:
        """Whether the endpoint speaks plain HTTP."""
        return self.endpoint.startswith("http:")

    def key(self, name: str) -> str:
        """Return what ``name`` is called in the bucket."""
        return f"{self.prefix}/{name}" if self.prefix else name

    def credentials(self, environment: Mapping[str, str] = os.environ) -> Credentials:
        """Return the credentials as they are now: a file may be replaced at any time.

        Raises:
            UnavailableError: There are none. The text never repeats what is there.
        """
        if self.credentials_file is None:
            found: Mapping[str, str] = {
                name.lower(): value for name, value in environment.items()
            }
            where = "the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)"
        else:
            found = _read(self.credentials_file)
            where = f"{self.credentials_file}, section [{_FILE_SECTION}]"
        access_key = found.get("aws_access_key_id", "")
        secret_key = found.get("aws_secret_access_key", "")
        if not access_key or not secret_key:
            raise UnavailableError(f"blobs: no credentials in {where}")
        return Credentials(access_key, secret_key, found.get("aws_session_token", ""))


def _read(file: Path) -> Mapping[str, str]:
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(file.read_text(encoding="utf-8"))
        return dict(parser[_FILE_SECTION])
    except OSError as error:
        raise UnavailableError(f"blobs: {file} cannot be read: {error.strerror}") from error
    except (configparser.Error, KeyError, ValueError):
        # The parser's own words repeat lines of the file.
        raise UnavailableError(f"blobs: {file} has no section [{_FILE_SECTION}]") from None
