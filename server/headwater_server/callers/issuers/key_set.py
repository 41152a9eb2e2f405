"""The public keys of an issuer of JWT, as a JWKS (RFC 7517) has them.

Only keys of asymmetric algorithms are taken: with a symmetric one a server that checks tokens could make them too. A
key checks the algorithms that fit its kind, and only its own where it names one, so a token cannot choose another. RSA
keys with fewer than 2048 bits are refused when they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import jwt

MAX_BYTES = 256 * 1024
MAX_KEYS = 100

_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES = {"P-256": ("ES256",), "P-384": ("ES384",), "P-521": ("ES512",), "Ed25519": ("EdDSA",)}
ALGORITHMS = frozenset(_RSA).union(*_CURVES.values())
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


class KeysError(Exception):
    """Keys cannot be had; the text says why, in one line."""


class KeySet:
    """The keys of a JWKS.

    Args:
        data: its JSON.

    Raises KeysError when it is no JWKS, or has no key that can be used here.
    """

    def __init__(self, data: bytes) -> None:
        if len(data) > MAX_BYTES:
            raise KeysError(f"has more than {MAX_BYTES:,} bytes")
        try:
            content = msgspec.json.decode(data)
            listed = content["keys"]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError) as error:
            raise KeysError("is no JWKS: it must be a JSON object with the list `keys`") from error
        if not isinstance(listed, list) or len(listed) > MAX_KEYS:
            raise KeysError(f"is no JWKS: `keys` must be a list of at most {MAX_KEYS} keys")
        self._keys = [made for key in listed if isinstance(key, dict) for made in _usable(key)]
        if not self._keys:
            raise KeysError("has no key that can check a signature with an asymmetric algorithm")

    def __len__(self) -> int:
        return len({id(described) for described, _ in self._keys})

    def find(self, key_id: object, algorithm: str) -> jwt.PyJWK | None:
        """The key for a token; None when there is none.

        Args:
            key_id: the `kid` of the token; None where it names none: then a key must be the only one that fits.
            algorithm: its `alg`.
        """
        found = [key for _, key in self._keys if key.algorithm_name == algorithm and key_id in (None, key.key_id)]
        return found[0] if len(found) == 1 or (found and key_id is not None) else None


def _usable(described: dict[str, Any]) -> list[tuple[dict[str, Any], jwt.PyJWK]]:
    """The key, once for each algorithm that it checks; none when it checks nothing here."""
    import jwt  # as jwt_issuers: only a server with issuers waits for it

    public = {name: value for name, value in described.items() if name not in _PRIVATE}
    made = []
    for algorithm in _algorithms(public):
        try:
            made.append((described, jwt.PyJWK(public, algorithm)))
        except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError):
            return []
    return made


def _algorithms(key: dict[str, Any]) -> tuple[str, ...]:
    operations = key.get("key_ops") or ["verify"]
    if key.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return ()
    kind, curve = key.get("kty"), key.get("crv")
    fitting: tuple[str, ...] = ()
    if kind == "RSA":
        fitting = _RSA
    elif kind in ("EC", "OKP") and isinstance(curve, str):
        fitting = _CURVES.get(curve, ())
    return tuple(each for each in fitting if key.get("alg") in (None, each))
