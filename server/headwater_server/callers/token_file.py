"""The file with the tokens of callers, in the data directory: `callers.json`, for the server's user alone.

It is replaced as a whole: a reader has the file of before or of after a change, never a half. Two commands that change
it at once take turns, by a lock on the file `callers.lock`. A token that is revoked stays in it, so that a server whose
tokens are all revoked lets no caller in instead of all. Each change adds a line to `audit.log` beside it, with the
number of the user who made it: it is made by a command, while a server runs or none.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from headwater_server.callers.tokens import ID_PREFIX, Token, TokenError
from headwater_server.private_files import check_folder, make_folder, open_private, read_private

FILE_NAME = "callers.json"
LOCK_NAME = "callers.lock"
AUDIT_NAME = "audit.log"
MAX_BYTES = 16 * 2**20


class _Content(msgspec.Struct, forbid_unknown_fields=True):
    """The content of the file. `version` rises when an older Headwater could not read it."""

    tokens: list[Token]
    version: int = 1


def read_tokens(folder: Path) -> list[Token] | None:
    """The tokens in a data directory; None without the file. Raises TokenError for one that cannot be used."""
    try:
        if (data := read_private(folder / FILE_NAME, MAX_BYTES)) is None:
            return None
        check_folder(folder)
        content = msgspec.json.decode(data, type=_Content)
    except NotADirectoryError:  # the opening of the journal there fails, and says it better
        return None
    except OSError as error:
        raise TokenError(f"the tokens in {folder} cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TokenError(
            f"{folder / FILE_NAME} is not a file of tokens: put back a copy, or remove it and make new tokens"
        ) from error
    if content.version != 1:
        raise TokenError(f"a newer Headwater wrote {folder / FILE_NAME}; upgrade Headwater")
    return content.tokens


def add_token(folder: Path, token: Token) -> None:
    """Adds a token to the file, which is made if it is missing, as is the folder. Raises TokenError."""
    with _changing(folder) as tokens:
        tokens.append(token)
        _note(folder, "token_created", [token], token.created)


def revoke_tokens(folder: Path, name: str, now: float) -> list[Token]:
    """Revokes the token with this id, or all that a caller of this name has; those are returned. Raises TokenError."""
    with _changing(folder) as tokens:
        by_id = name.startswith(ID_PREFIX)
        chosen = [token for token in tokens if not token.revoked and name == (token.id if by_id else token.caller)]
        if not chosen:
            raise TokenError(f"no token in force has the id or the caller {name[:100]!r}; see headwater token list")
        tokens[:] = [msgspec.structs.replace(token, revoked=now) if token in chosen else token for token in tokens]
        _note(folder, "token_revoked", chosen, now)
        return chosen


@contextmanager
def _changing(folder: Path) -> Iterator[list[Token]]:
    """The tokens, to be changed; written when the block ends well. Raises TokenError."""
    try:
        make_folder(folder)
        lock = open_private(folder / LOCK_NAME)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            tokens = read_tokens(folder) or []
            yield tokens
            _write(folder, tokens)
        finally:
            os.close(lock)
    except OSError as error:
        raise TokenError(f"the tokens in {folder} cannot be written: {error.strerror}") from error


def _note(folder: Path, action: str, tokens: Sequence[Token], now: float) -> None:
    """Adds a line for each change to the audit of commands, before the change counts; the caller has the lock."""
    time = datetime.fromtimestamp(now, UTC).isoformat()
    facts = {"timestamp": time, "event": "audit", "action": action, "uid": os.getuid()}
    with os.fdopen(open_private(folder / AUDIT_NAME), "r+b") as file:
        file.seek(0, os.SEEK_END)
        for token in tokens:
            file.write(msgspec.json.encode(facts | {"token_id": token.id, "of": token.caller, "scopes": token.scopes}))
            file.write(b"\n")


def _write(folder: Path, tokens: Sequence[Token]) -> None:
    new = folder / f"{FILE_NAME}.new"
    new.unlink(missing_ok=True)  # of a command that was killed
    file = open_private(new)
    try:
        with os.fdopen(file, "wb", closefd=False) as stream:
            stream.write(msgspec.json.format(msgspec.json.encode(_Content(list(tokens)))) + b"\n")
        os.fsync(file)
    finally:
        os.close(file)
    new.replace(folder / FILE_NAME)
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
