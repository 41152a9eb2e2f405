"""The limits of callers, as the configuration sets them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class CallerLimits:
    """The limits of one caller; None: no such limit.

    Attributes:
        models: patterns of the models that it may ask; see `attempts.allowed`.
        providers: names of the providers that it may ask.
        requests_per_minute: requests that it may begin in a minute.
        tokens_per_minute: tokens of their prompts and replies.
        max_concurrent: requests that run at once.
        monthly_tokens: tokens of prompts and replies in a month.
    """

    models: tuple[str, ...] | None = None
    providers: tuple[str, ...] | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_concurrent: int | None = None
    monthly_tokens: int | None = None

    @property
    def has_account(self) -> bool:
        """Whether its requests are counted."""
        return bool(self.requests_per_minute or self.max_concurrent or self.tokens_per_minute or self.monthly_tokens)

    @property
    def counts_end(self) -> bool:
        """Whether the ends of its requests are counted too."""
        return bool(self.max_concurrent or self.counts_tokens)

    @property
    def counts_tokens(self) -> bool:
        """Whether its tokens are counted."""
        return bool(self.tokens_per_minute or self.monthly_tokens)


NO_LIMITS = CallerLimits()


@dataclass(frozen=True, slots=True)
class LimitsOfCallers:
    """The limits of all callers.

    Attributes:
        named: those of callers, by name.
        others: those of each other caller.
    """

    named: Mapping[str, CallerLimits] = field(default_factory=dict)
    others: CallerLimits = NO_LIMITS

    @property
    def has_accounts(self) -> bool:
        """Whether requests of any caller are counted."""
        return any(limits.has_account for limits in (self.others, *self.named.values()))

    def of(self, name: str) -> CallerLimits:
        """Those of the caller of this name."""
        return self.named.get(name, self.others)
