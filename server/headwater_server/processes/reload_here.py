"""The reload of a server that is one process."""

from __future__ import annotations

import asyncio
from pathlib import Path

from headwater_server.config import Config, ConfigError
from headwater_server.config.reloading import Use, reread
from headwater_server.domain.errors import HeadwaterError
from headwater_server.processes.reloading import Outcome, reload_on_signal


async def follow_signal(config: Config, use: Use) -> None:
    """Reads the settings again on each SIGHUP and puts them in force, until it is cancelled.

    Args:
        config: the settings in force at first.
        use: puts others in force.
    """
    current = config

    async def reload() -> Outcome:
        nonlocal current
        try:
            fresh, needs_restart = await asyncio.to_thread(reread, current)
            await use(fresh)
        except ConfigError as error:
            return Outcome(mistakes=tuple(error.mistakes))
        except HeadwaterError as error:
            return Outcome(mistakes=(error.message,))
        current = fresh
        return Outcome(needs_restart=tuple(needs_restart))

    await reload_on_signal(reload, Path(config.settings.server.data_dir))
