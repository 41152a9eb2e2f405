"""The server's settings: read once from defaults, a TOML file, the environment and flags, then passed in.

A later layer overrides an earlier one, key by key. Every mistake is named with the key as its author wrote it: the key
in the file, the variable or the flag. Keys of providers are never written down here: a setting names the variable or
the file that holds one, or the command that prints one.
"""

from headwater_server.config.doors import admin_place, is_private
from headwater_server.config.loading import load
from headwater_server.config.mistakes import CONFIG_EXIT, ConfigError
from headwater_server.config.resolved import Config
from headwater_server.config.settings import ENVIRONMENT, ServerSettings, Settings

__all__ = [
    "CONFIG_EXIT",
    "ENVIRONMENT",
    "Config",
    "ConfigError",
    "ServerSettings",
    "Settings",
    "admin_place",
    "is_private",
    "load",
]
