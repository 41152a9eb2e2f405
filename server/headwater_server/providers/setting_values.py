"""Values of settings, checked when the configuration is read: each mistake says what is wrong and the cure."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, StringConstraints

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
"""A variable of the environment in a value."""

MODEL = "{model}"
"""Stands for the name of the model, in an address."""

AUTH_HEADER_NAMES = frozenset({"authorization", "api-key", "x-api-key", "x-goog-api-key"})

_OURS = frozenset(
    {
        "host", "content-length", "content-type", "content-encoding", "transfer-encoding", "accept-encoding",
        "connection", "keep-alive", "upgrade", "te", "trailer", "expect",
    }
)  # fmt: skip
"""Headers that follow from the call and its connection; a wrong one breaks them, or leads them elsewhere."""

_NOT_A_CALLERS = AUTH_HEADER_NAMES | {"proxy-authorization", "cookie", "forwarded", "x-http-method-override"}


def http_url(value: str) -> str:
    """An address without a slash at its end, and without white space around it."""
    value = value.strip()
    if value.startswith(("unix:", "/")):
        raise ValueError("must begin with http:// or https://; name a Unix socket in unix_socket")
    if not value.startswith(("http://", "https://")):
        raise ValueError("must begin with http:// or https://")
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError as error:  # which may quote a password
        raise ValueError("is not a URL: its host or its port cannot be read") from error
    pieces = parts.path.split("/")
    if "{" in parts.netloc or pieces.count(MODEL) > 1 or any("{" in piece and piece != MODEL for piece in pieces):
        raise ValueError(f"may hold one {MODEL}, as a whole piece of its path, and no other brace")
    if not is_host(parts.hostname) or port == 0 or not is_visible(value):
        raise ValueError("is not a URL: it needs the name of a host, in ASCII, and no spaces")
    if "@" in parts.netloc or "?" in value or "#" in value:
        raise ValueError(
            "must hold no user, password, query or fragment; "
            "a key belongs in the variable of api_key_env, a query in the setting query"
        )
    return value.rstrip("/")


def without_ending(url: str, endings: Iterable[str]) -> str:
    """The address without the first of these paths that it ends in."""
    found = next((ending for ending in endings if urlsplit(url).path.endswith(ending)), "")
    return url.removesuffix(found).rstrip("/") if found else url


def host_of(url: str) -> str:
    """The host of an address, in lower case."""
    return urlsplit(url).hostname or ""


def certificates_file(value: str) -> str:
    """A file of certificates in PEM."""
    path = os.path.expanduser(value)
    if path:
        try:
            ssl.create_default_context(cafile=path)
        except ssl.SSLError as error:
            raise ValueError("holds no certificate in PEM form") from error
        except OSError as error:
            raise ValueError(f"cannot be read: {error.strerror}") from error
    return path


def proxy_url(value: str) -> str:
    """The address of a proxy, `none` for the straight way, empty for the environment's proxies."""
    if value in ("", "none"):
        return value
    if not is_proxy(VARIABLE.sub("x", value), ("http",)):
        raise ValueError('must be the address of an HTTP proxy, http://HOST:PORT, or "none"')
    return value if "://" in value else f"http://{value}"


def is_proxy(value: str, schemes: Collection[str]) -> bool:
    """Whether a text is the address of a proxy, with one of the schemes or with none."""
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        return parts.scheme in schemes and is_host(parts.hostname) and parts.port != 0 and is_visible(value)
    except ValueError:
        return False


def is_host(name: str | None) -> bool:
    """Whether a name can be that of a host, or its address; one of another script as its letters of ASCII, xn--…."""
    if name is None or len(name) > 255:
        return False
    if ":" in name:
        return re.fullmatch(r"[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?", name) is not None
    return re.fullmatch(r"([A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?", name) is not None


def is_visible(text: str) -> bool:
    """Whether a text has visible characters of ASCII only."""
    return re.fullmatch(r"[!-~]+", text) is not None


def socket_path(value: str) -> str:
    """The path of a Unix socket."""
    path = os.path.expanduser(value.removeprefix("unix://").removeprefix("unix:"))
    if path and (not path.startswith("/") or "\0" in path or len(os.fsencode(path)) > 107):
        raise ValueError("must be an absolute path of at most 107 bytes")
    return path


def _header_name(name: str) -> str:
    name = name.lower()
    if not re.fullmatch(r"[a-z0-9!#$%&'*+.^_`|~-]{1,100}", name):
        raise ValueError("is not the name of a header")
    if name in _OURS:
        raise ValueError(f"{name} cannot be set: it follows from the call")
    return name


def _caller_header_name(name: str) -> str:
    if (name := _header_name(name)) in _NOT_A_CALLERS:
        raise ValueError(f"{name} cannot be left to callers; a caller's key is allowed by allow_caller_api_keys")
    return name


def header_value(value: str) -> str:
    """A value that a header can carry."""
    if len(value) > 8192 or not (value.isascii() and value.isprintable()) or value != value.strip():
        raise ValueError("must be printable ASCII of at most 8192 characters, without white space at its ends")
    return value


HeaderName = Annotated[str, AfterValidator(_header_name)]
CallerHeaderName = Annotated[str, AfterValidator(_caller_header_name)]
HeaderValue = Annotated[str, AfterValidator(header_value)]
QueryName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._~$-]{1,100}$")]
QueryValue = Annotated[str, StringConstraints(max_length=8192)]
FieldPath = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$", max_length=200)]


def variables(values: Iterable[str]) -> Iterator[str]:
    """The names of the variables that stand in the values."""
    for value in values:
        yield from VARIABLE.findall(value)


def resolved(value: str, environment: Mapping[str, str]) -> str:
    """The value with its variables replaced; each must be in the environment."""
    return VARIABLE.sub(lambda found: environment[found[1]], value)
