"""Values that callers pass: conversations and checked arguments."""
