"""Running a suite: the parent's side, the worker's side, and the journal between runs and readers."""
