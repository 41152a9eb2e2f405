"""Which names of models and queues are labels: those of callers have a bound.

A model has a label by its name once it has answered, or when the configuration names it. Any other is `other`, and so
are those past the first MAX_MODELS of a provider that only callers name.
"""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Iterable, Mapping

from headwater_server.domain.secret_text import looks_like_name

MAX_MODELS = 50
"""The models of a provider that have labels because they have answered."""
MAX_QUEUES = 50
OTHER = "other"


class ModelLabels:
    """The labels of models; to be used from any thread."""

    def __init__(self) -> None:
        self._named: dict[str, frozenset[str]] = {}
        self._answered: dict[str, set[str]] = {}

    def name(self, models: Iterable[tuple[str, str]]) -> None:
        """Gives labels to models that the configuration names, by their providers; those named before lose theirs."""
        named: dict[str, set[str]] = {}
        for provider, model in models:
            if looks_like_name(model):
                named.setdefault(provider, set()).add(model)
        self._named = {provider: frozenset(found) for provider, found in named.items()}

    def of(self, provider: str, model: str, *, has_answered: bool) -> tuple[str, str]:
        """The labels of a model: its provider, and its own."""
        if model in self._named.get(provider, ()):
            return provider, model
        answered = self._answered.setdefault(provider, set())
        if model not in answered:
            if not has_answered or len(answered) >= MAX_MODELS or not looks_like_name(model):
                return provider, OTHER
            answered.add(model)
        return provider, model


def queue_labels(counts: Mapping[str, int]) -> Mapping[str, int]:
    """The numbers by the labels of their queues: the MAX_QUEUES that have most, and `other` for the rest."""
    shown: Counts[str] = Counts()
    for place, (queue, count) in enumerate(Counts(counts).most_common()):
        shown[queue if place < MAX_QUEUES and looks_like_name(queue) else OTHER] += count
    return shown
