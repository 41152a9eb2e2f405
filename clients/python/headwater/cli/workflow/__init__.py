"""The commands `headwater workflow ...` and the views of a run on a terminal."""
