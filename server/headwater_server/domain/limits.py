"""The bounds of the contract."""

from __future__ import annotations

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

MAX_PROVIDER_KEY = 4096
"""Most characters of a caller's own key for a provider."""

MAX_TIMEOUT_SECONDS = 86_400
"""The longest time to wait for a provider."""

MAX_ATTEMPTS = 10
"""How often providers may be asked for one reply at most."""

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
