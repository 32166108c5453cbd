"""The settings: every one a typed field with a default and a meaning, checked all at once."""

from service.config.addresses import Address, Network, StorageUrl
from service.config.databases import PostgresUrl
from service.config.load import DEFAULT_FILE, load_config, parse_config
from service.config.problems import ConfigError, Problem
from service.config.sections import (
    ArchiveConfig,
    Config,
    GrantsConfig,
    IntakeConfig,
    KeysConfig,
    LimitsConfig,
    LogConfig,
    MediaConfig,
    SourceConfig,
    StorageConfig,
    WebConfig,
)

__all__ = [
    "DEFAULT_FILE",
    "Address",
    "ArchiveConfig",
    "Config",
    "ConfigError",
    "GrantsConfig",
    "IntakeConfig",
    "KeysConfig",
    "LimitsConfig",
    "LogConfig",
    "MediaConfig",
    "Network",
    "PostgresUrl",
    "Problem",
    "SourceConfig",
    "StorageConfig",
    "StorageUrl",
    "WebConfig",
    "load_config",
    "parse_config",
]
