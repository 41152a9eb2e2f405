"""The agents, under the path `headwater.agents`."""

from headwater.agents.workflow import *  # noqa: F403 - the same names, which `headwater.workflow` lists
from headwater.agents.workflow import __all__ as __all__
