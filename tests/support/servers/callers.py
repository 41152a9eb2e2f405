"""Callers for servers that tests make of parts."""

from __future__ import annotations

from pathlib import Path

from headwater_server.callers.known_callers import KnownCallers

NO_CALLERS = KnownCallers(Path(__file__).parent)
"""Those of a server that answers everybody: the folder has no file of tokens."""
