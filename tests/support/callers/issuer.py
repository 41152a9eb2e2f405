"""An issuer of JWT: its keys, the tokens that it signs, and its keys as a JWKS, in a file or over HTTP."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

ISSUER = "https://id.example.com/"
AUDIENCE = "headwater"


class Key:
    """A private key.

    Args:
        key_id: its name.
        algorithm: with which it signs.
        bits: of an RSA key.
    """

    def __init__(self, key_id: str = "a", algorithm: str = "ES256", bits: int = 2048) -> None:
        self.key_id = key_id
        self.algorithm = algorithm
        if algorithm == "EdDSA":
            self.private: Any = ed25519.Ed25519PrivateKey.generate()
        elif algorithm.startswith("ES"):
            curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
            self.private = ec.generate_private_key(curves[algorithm])
        else:
            self.private = rsa.generate_private_key(public_exponent=65537, key_size=bits)

    def described(self, **more: Any) -> dict[str, Any]:
        """The public key as a JWK."""
        maker = jwt.get_algorithm_by_name(self.algorithm)
        return {**maker.to_jwk(self.private.public_key(), as_dict=True), "kid": self.key_id, **more}

    def token(self, caller: str = "alice", *, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token for an hour; claims that are None are left out."""
        said = {"iss": ISSUER, "aud": AUDIENCE, "exp": int(time.time()) + 3_600, "sub": caller, "scope": "stream"}
        said = {name: value for name, value in {**said, **claims}.items() if value is not None}
        return jwt.encode(said, self.private, self.algorithm, {"kid": self.key_id, **(header or {})})


def jwks(*keys: Key | dict[str, Any]) -> str:
    """The keys as a JWKS."""
    return json.dumps({"keys": [key.described() if isinstance(key, Key) else key for key in keys]})


class JwksServer:
    """Answers with a JWKS over HTTP, from `with` to the end of its block.

    Attributes:
        keys: those that it shows.
        status: with which it answers.
        asked: how often it was asked.
        padding: white space behind the JWKS.
    """

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self.keys = list(keys)
        self.status = 200
        self.asked = 0
        self.padding = ""
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked += 1
                body = (jwks(*site.keys) + site.padding).encode()
                self.send_response(site.status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/jwks.json"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
