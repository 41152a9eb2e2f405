"""To be imported before all else by a program that serves.

It keeps gRPC from doing anything when this process forks. uvloop forks to start a program, as the embedded model is;
gRPC's own code would run in the new process before that program, and sometimes end it there.

It also makes the process 5 MB smaller, of about 80. httpx loads its own command line where that is installed, and
structlog what draws coloured tracebacks; both bring rich. None in `sys.modules` means to Python, and so to them, that a
module is not there. rich is hidden only while structlog looks for it: the command line of a client has it too.

And it stops the garbage collector, which would take a tenth of the time of the imports and find next to nothing.
`bootstrap` starts it again.
"""

from __future__ import annotations

import gc
import os
import sys

gc.disable()
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # gRPC reads it when it is imported; `headwater.cli` sets it too

sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
if "rich" not in sys.modules:
    sys.modules["rich"] = None  # type: ignore[assignment]
    import structlog.dev  # noqa: F401

    del sys.modules["rich"]
