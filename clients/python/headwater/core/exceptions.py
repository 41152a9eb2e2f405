"""The exceptions, under the path `headwater.core.exceptions`."""

from headwater.exceptions import *  # noqa: F403 - the same names, which `headwater.exceptions` lists
from headwater.exceptions import __all__ as __all__
