"""One server that agents and workflows share; `headwater.connection` shows its use."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from headwater._grpc.channels import close_owned
from headwater._grpc.server import Server, Token, check_target, check_token, resolve_server, resolve_target
from headwater._grpc.tls.files import FilePath, given_files
from headwater._values.names import all_names_nearest
from headwater._values.validation import flag


@all_names_nearest
class Connection:
    """One server, and what lets this program in.

    Making one does no I/O: the first call connects. It may be used from several threads and event loops at once, and
    has one channel on each loop, which ends with the loop if `close` does not end it before. A copy, also one that was
    pickled, has the same settings and other channels.

    Args:
        target: address of the server, HOST:PORT, or https://HOST:PORT for TLS; None for HEADWATER_TARGET or, unset,
            localhost:50051, looked up at each call.
        token: lets this program into the server; an agent may have another; None for HEADWATER_TOKEN. A function that
            returns it is called again, in a thread, before each call and each reconnect of a worker. Without TLS it is
            sent to this machine alone.
        ca_file: file in PEM with the certificates of the authorities to trust; None for HEADWATER_CA_FILE or, unset,
            those that gRPC trusts. This and the next two need TLS, and are read again when they change.
        cert_file: file in PEM with this program's certificate, where the server wants one; None for
            HEADWATER_CERT_FILE.
        key_file: file in PEM with its private key; None for HEADWATER_KEY_FILE.
        plaintext_token: send the token, and keys and headers for the provider, also to another machine without TLS;
            for a network that you trust. HEADWATER_PLAINTEXT_TOKEN=true says it too.

    Raises:
        ValidationError: for a bad value; the message names it.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        token: Token | None = None,
        ca_file: FilePath | None = None,
        cert_file: FilePath | None = None,
        key_file: FilePath | None = None,
        plaintext_token: bool = False,
    ) -> None:
        self._target = None if target is None else check_target("target", target)
        self._files = given_files(ca_file, cert_file, key_file)
        self._plaintext_token = flag("plaintext_token", plaintext_token)
        self.token = token
        self._owner = object()

    @property
    def target(self) -> str:
        """Address of the server, as the next call would use it."""
        return resolve_target(self._target)

    @property
    def token(self) -> Token | None:
        """Lets this program into the server; a new one counts from the next call on."""
        return self._token

    @token.setter
    def token(self, token: Token | None) -> None:
        self._token = check_token(token)

    def server_of_call(self, token: Token | None = None) -> Server:
        """Where a call goes; `token` counts instead of the connection's."""
        return resolve_server(
            self._target, token or self._token, self._owner, self._files, plaintext_token=self._plaintext_token
        )

    async def close(self) -> None:
        """End the streams over this connection and close its channels, on every event loop.

        The next call connects again.
        """
        await close_owned(self._owner)

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_owner"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _owner=object())

    def __repr__(self) -> str:
        return f"Connection({self._target!r})"
