"""To be imported before all else by a program that serves: it takes 5 MB less, of about 80.

httpx loads its own command line where that is installed, and structlog what draws coloured tracebacks; both bring rich.
None in `sys.modules` means to Python, and so to them, that a module is not there. rich is hidden only while structlog
looks for it: conditions of workflow steps are evaluated by a library that does not load without.
"""

from __future__ import annotations

import sys

sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
if "rich" not in sys.modules:
    sys.modules["rich"] = None  # type: ignore[assignment]
    import structlog.dev  # noqa: F401

    del sys.modules["rich"]
