"""A conversation as a file: the list of messages that `Agent.messages` has, as JSON."""

from __future__ import annotations

import base64
import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

from headwater.agent import Agent
from headwater.exceptions import ValidationError

_LARGEST_BYTES = 32 * 1024 * 1024
_FOR_ITS_OWNER = 0o600
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # Windows has none


class FileError(Exception):
    """A file cannot be written, or read as a conversation; the message names it, and the cure where there is one."""


def save(agent: Agent, file: str, *, replace: bool) -> str:
    """Writes the conversation of an agent, and returns a report for people. Raises FileError.

    Args:
        agent: has the conversation.
        file: its name; ~ is the user's folder.
        replace: whether a file of this name may be replaced.
    """
    messages = [_without_bytes(message) for message in agent.messages]
    if not messages:
        return "there is nothing to save yet"
    text = json.dumps(messages, ensure_ascii=False, indent=1) + "\n"
    try:
        path = Path(file).expanduser()
        existed = path.exists()
        with open(path, "w" if replace else "x", encoding="utf-8", opener=_open_for_owner) as stream:
            stream.write(text)
    except FileExistsError:
        raise FileError(f"{file} exists already; name another file, or replace it with /save! {file}") from None
    except (OSError, ValueError, RuntimeError) as error:
        raise FileError(f"{file} cannot be written: {_why(error)}") from None
    return f"saved {_counted(len(messages))} to {file}{', in place of its former content' if existed else ''}"


def load(agent: Agent, file: str) -> str:
    """Lets an agent continue the conversation of a file, and returns a report for people. Raises FileError."""
    try:
        with Path(file).expanduser().open("rb") as stream:
            content = stream.read(_LARGEST_BYTES + 1)
    except (OSError, ValueError, RuntimeError) as error:
        raise FileError(f"{file} cannot be read: {_why(error)}") from None
    if len(content) > _LARGEST_BYTES:
        raise FileError(f"{file} is no conversation: it is larger than 32 MiB")
    try:
        messages = json.loads(content.decode("utf-8-sig"))
        agent.messages = messages
    except UnicodeDecodeError:
        raise FileError(f"{file} is no conversation: it is not UTF-8") from None
    except ValidationError as error:
        raise FileError(f"{file} is no conversation: {error}") from None
    except (ValueError, RecursionError) as error:
        raise FileError(f"{file} is no conversation: it is not JSON: {error}") from None
    kept = len(agent.messages)
    last = "" if kept == len(messages) else f"; only the last {kept:,} are kept"
    return f"loaded {_counted(len(messages))} from {file}{last}"


def _open_for_owner(path: str, flags: int) -> int:
    """Opens a file to write, which only this user may read then. A link is not followed. Raises OSError."""
    file = os.open(path, (flags & ~os.O_TRUNC) | _NO_LINK, _FOR_ITS_OWNER)
    try:
        found = os.fstat(file)
        if stat.S_ISREG(found.st_mode) and os.name == "posix":
            if found.st_uid != os.geteuid():
                raise PermissionError(errno.EPERM, "it belongs to another user")
            os.fchmod(file, _FOR_ITS_OWNER)
        if stat.S_ISREG(found.st_mode) and flags & os.O_TRUNC:
            os.ftruncate(file, 0)
    except BaseException:
        os.close(file)
        raise
    return file


def _without_bytes(message: dict[str, Any]) -> dict[str, Any]:
    """A message with the bytes of its images in data: URLs, which JSON has a form for."""
    content = message["content"]
    if isinstance(content, str):
        return message
    return {**message, "content": [_image_as_url(part) if part["type"] == "image" else part for part in content]}


def _image_as_url(part: dict[str, Any]) -> dict[str, Any]:
    data = base64.b64encode(part["data"]).decode()
    return {"type": "image_url", "image_url": f"data:{part['media_type']};base64,{data}"}


def _counted(messages: int) -> str:
    return f"{messages:,} message{'' if messages == 1 else 's'}"


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return "it is a link; name the file itself"
    return (isinstance(error, OSError) and error.strerror) or str(error)
