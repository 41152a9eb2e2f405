"""The audit: one line of the log for each change that somebody has made, at every level of the log.

A line has the event `audit`, the logger `headwater.audit` and the change under `action`; and, from the call that made
the change, its `caller`, `request_id` and `peer`. `docs/operations.md` lists the changes.
"""

from __future__ import annotations

import logging
from typing import Any

import structlog

# Its level is below all others, so that no setting of the log's level hides it.
_log = structlog.wrap_logger(None, wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET))


def audit(action: str, **facts: Any) -> None:
    """Writes a change into the log."""
    _log.info("audit", logger="headwater.audit", action=action, **facts)
