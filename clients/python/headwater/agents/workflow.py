"""Workflows, under the path `headwater.agents.workflow`."""

from headwater.workflow import *  # noqa: F403 - the same names, which `headwater.workflow` lists
from headwater.workflow import __all__ as __all__
