"""The consequences of a failure before the first chunk, and how long to wait before the next attempt.

| reason | the same model again | another model | the model cools down |
| --- | --- | --- | --- |
| PROVIDER_RATE_LIMITED, PROVIDER_UNAVAILABLE, STREAM_TIMEOUT | yes, after a wait | yes, at once | yes |
| PROVIDER_AUTH_FAILED, PROVIDER_QUOTA_EXHAUSTED, MODEL_NOT_FOUND | no | yes, at once | yes |
| a refusal or a content filter before any text, with `fallback_on_refusal` | no | yes, at once | no |
| CONTEXT_WINDOW_EXCEEDED, INVALID_REQUEST (this model cannot express the request) | no | yes, at once | no |
| SERVER_OVERLOADED (the provider is asked as much as its settings allow) | no | yes, at once | no |
| all others, above all PROVIDER_REJECTED_REQUEST | no | no | no |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from headwater_server.domain.errors import HeadwaterError, Reason

AGAIN = frozenset({Reason.PROVIDER_RATE_LIMITED, Reason.PROVIDER_UNAVAILABLE, Reason.STREAM_TIMEOUT})
"""The same model may succeed in another attempt."""

LATER = AGAIN | {Reason.SERVER_OVERLOADED}
"""The model may answer the caller's next request."""

COOLS = AGAIN | {Reason.PROVIDER_AUTH_FAILED, Reason.PROVIDER_QUOTA_EXHAUSTED, Reason.MODEL_NOT_FOUND}
"""The next requests had better ask another model."""

ELSEWHERE = COOLS | {Reason.CONTEXT_WINDOW_EXCEEDED, Reason.INVALID_REQUEST, Reason.SERVER_OVERLOADED}
"""Another model may succeed."""

SPREAD = 0.1
"""So much longer than a provider says is waited at most: all that were refused at once do not come back at once."""


@dataclass(frozen=True, slots=True)
class AttemptSettings:
    """The server's settings for attempts.

    Attributes:
        max_attempts: how often providers are asked for one reply at most, all models together.
        wait_seconds: the wait before the second attempt where the provider says none; it doubles with each further one.
        max_wait_seconds: a longer wait is not made, the call fails at once instead.
        falls_back_on_refusal: a refusal before any text is a failure, where there is another model.
    """

    max_attempts: int = 3
    wait_seconds: float = 0.5
    max_wait_seconds: float = 60.0
    falls_back_on_refusal: bool = False


def wait_after(error: HeadwaterError, failures: int, settings: AttemptSettings, chance: Callable[[], float]) -> float:
    """Seconds until the same model may be asked again.

    As long as the provider says, and up to a tenth longer. Where it says nothing, or 0 as by a date that has passed:
    `wait_seconds`, doubled with each failure and never more than `max_wait_seconds`, of which half to all, by chance.

    Args:
        error: the last failure.
        failures: how many there were.
        settings: the server's.
        chance: a number from 0 to 1, another one each time.
    """
    if error.retry_after_seconds:
        return error.retry_after_seconds * (1 + SPREAD * chance())
    longest = min(settings.wait_seconds * 2.0 ** (failures - 1), settings.max_wait_seconds)
    return longest * (0.5 + 0.5 * chance())


class AttemptLimits(msgspec.Struct, frozen=True):
    """The bounds of the attempts for one reply.

    Attributes:
        settings: the server's; `max_attempts` is the caller's, where the caller sets it.
        deadline: when the caller stops waiting, as the loop's time; None for never.
        asks_once: no target is asked twice.
        counts_tokens: whether `tokens` will be asked for.
    """

    settings: AttemptSettings
    deadline: float | None = None
    asks_once: bool = False
    counts_tokens: bool = True
