"""The bounds of the contract."""

from __future__ import annotations

WANTED_FILES = 65_536
"""As many open files as the server asks the system for."""

MAX_NAME = 256
"""Most characters of a name or an id."""

MAX_ITEMS = 10_000
"""Most items of a list of a request."""

MAX_JSON = 1024 * 1024
"""Most characters of JSON text of one kind in a request: JSON is parsed while all others wait."""

MAX_OPTIONS_BYTES = 256 * 1024
"""Most bytes of `provider_options`, all entries together."""

MAX_LABELS = 16
MAX_LABEL_VALUE = 256
"""Most labels, and most characters of the value of one."""

MAX_LOGPROBS = 20
"""Most tokens that are asked for in each place of a reply."""

MAX_URL = 8 * 1024
"""Most characters of the address of an image."""

MAX_PROVIDER_KEY = 4096
"""Most characters of a caller's own key for a provider."""

MAX_TIMEOUT_SECONDS = 86_400
"""The longest time to wait for a provider."""

MAX_ATTEMPTS = 10
"""How often providers may be asked for one reply at most."""

MAX_FALLBACKS = 8
"""Most fallback models of a request."""

MIN_HEARTBEAT_SECONDS = 1
"""The shortest time between two signs of life that a caller can ask for."""

MAX_CONTINUED_SEQUENCE = 2_000_000_000
"""The highest number after which a stream can be continued."""

MAX_VIOLATIONS = 100
"""No further messages are looked at after so many bad fields."""

MAX_MESSAGE_BYTES = 3 * 1024 * 1024
"""The largest message that is sent: stubs refuse more than 4 MiB unless their options say otherwise."""

MAX_IMAGE_BYTES = MAX_MESSAGE_BYTES - 256 * 1024
"""The largest picture of a reply: it is sent whole, in one message."""

FILES_APART = 256
"""Open files that are no connection of a stream: the journal, the log, the program's own."""


def open_files(soft: int, hard: int) -> int:
    """How many files a process may have open that raises its own limit as far as it is wanted and allowed.

    Args:
        soft: the limit in force; negative for none.
        hard: how far it may be raised; negative for any.
    """
    before, most = (WANTED_FILES if limit < 0 else limit for limit in (soft, hard))
    return max(before, min(most, WANTED_FILES))


def streams_with(files: int) -> int:
    """How many streams so many open files allow: each may take a connection of its caller and one to its provider."""
    return max((files - FILES_APART) // 2, 16)
