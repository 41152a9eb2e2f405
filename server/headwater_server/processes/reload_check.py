"""Reads the settings again for the supervisor: `python -m headwater_server.processes.reload_check`.

The supervisor imports too little to read settings. It writes those in force to this program, as `Config.to_json` has
them, and gets one JSON object back: `mistakes`; and where there is none, `config` and `needs_restart`.
"""

from __future__ import annotations

import json
import sys

from headwater_server.callers.issuers.key_set import KeysError
from headwater_server.config import Config, ConfigError
from headwater_server.config.authentication import configured_callers
from headwater_server.config.reloading import build_offer, reread


async def _no_fetch(url: str, ca_file: str, most_bytes: int) -> bytes:
    """Nothing is fetched to read settings."""
    raise KeysError("is not fetched here")


def main() -> None:
    """Answers on standard output."""
    try:
        config, needs_restart = reread(Config.from_json(json.load(sys.stdin)))
        build_offer(config, "headwater")
        configured_callers(config, _no_fetch)
    except ConfigError as error:
        answer: dict[str, object] = {"mistakes": error.mistakes}
    else:
        answer = {"mistakes": [], "config": config.to_json(), "needs_restart": needs_restart}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
