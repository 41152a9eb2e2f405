"""Reads the requests of one method: checks their bytes and elements, then parses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import DecodeError

from headwater_server.domain.errors import HeadwaterError, Reason, invalid
from headwater_server.transport.incoming.wire import (
    TooManyElementsError,
    UnreadableError,
    count_elements,
    fields_of,
    largest_field,
)

MAX_REQUEST_BYTES = 32 * 1024 * 1024
MAX_ELEMENTS = 100_000
ELEMENT_BYTES = 512
"""About how much memory an element takes beside its bytes."""

UNCOUNTED_BYTES = 4096
"""So few bytes hold too few elements to matter."""

_NAMES_BYTES = 64 * 1024
# A definition has at most 512 KiB, a context 1 MiB of JSON, which as a Struct has up to 5.5 MiB.
_WORKFLOW_BYTES = 8 * 1024 * 1024

LIMITS = {
    "/headwater.v1.AgentService/Stream": MAX_REQUEST_BYTES,
    "/headwater.v1.AgentService/Run": MAX_REQUEST_BYTES,
    "/headwater.v1.WorkflowService/ValidateWorkflow": _WORKFLOW_BYTES,
    "/headwater.v1.WorkflowService/StartWorkflowRun": _WORKFLOW_BYTES,
    "/headwater.v1.WorkflowService/ExecuteWorkflow": _WORKFLOW_BYTES,
    "/headwater.v1.WorkerService/Attach": _WORKFLOW_BYTES,
}
"""The bytes that a message of a method may have. A message of another method holds names only, and may have 64 KiB."""


class RequestReader:
    """Reads the requests of one method.

    Args:
        path: `/package.Service/Method`.
        parse: makes a message of bytes; None: they stay bytes, for another process that reads them.
    """

    def __init__(self, path: str, parse: Callable[[bytes], Any] | None) -> None:
        self._name = path.rpartition("/")[2]
        self._parse = parse
        self._message = _request_of(path)
        self._most = LIMITS.get(path, _NAMES_BYTES if self._message else MAX_REQUEST_BYTES)
        self._fields = fields_of(self._message) if self._message else {}

    def read(self, raw: bytes) -> Any:
        """Returns the message. Raises HeadwaterError (INVALID_REQUEST), which names a field that is too large."""
        return self.weigh(raw)[0]

    def weigh(self, raw: bytes) -> tuple[Any, int]:
        """Returns the message, and about how many bytes of memory it takes. Raises as `read` does."""
        if len(raw) > self._most:
            what = f"is too large: the request has {len(raw):,} bytes, and {self._name} takes {self._most:,}"
            raise invalid(self._largest(raw), what)
        if self._parse is None:
            return raw, len(raw)
        elements = 0 if len(raw) <= UNCOUNTED_BYTES else self._count(raw)
        try:
            return self._parse(raw), len(raw) + elements * ELEMENT_BYTES
        except DecodeError:
            raise _unreadable() from None

    def _count(self, raw: bytes) -> int:
        try:
            return count_elements(raw, self._fields, MAX_ELEMENTS)
        except TooManyElementsError as error:
            what = f"is too long: the request has more than {MAX_ELEMENTS:,} fields and items in all; send fewer"
            raise invalid(error.path or self._largest(raw), what) from None
        except UnreadableError:
            raise _unreadable() from None

    def _largest(self, raw: bytes) -> str:
        """The field to name; `request` for one that the contract does not have."""
        return (largest_field(raw, self._message) if self._message else "") or "request"


def _request_of(path: str) -> Descriptor | None:
    """The message that the method takes; None for one that no contract describes."""
    try:
        return Default().FindMethodByName(path.strip("/").replace("/", ".")).input_type
    except KeyError:
        return None


def _unreadable() -> HeadwaterError:
    what = "the request cannot be read: it is no such message, or is nested more than 100 levels"
    return HeadwaterError(Reason.INVALID_REQUEST, f"{what}; build it with the stub, and nest less")
