"""The command `headwater top`."""
