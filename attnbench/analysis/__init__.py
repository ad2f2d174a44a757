"""What a run's table says: who is fastest and how surely, how cost grows, what to use. Pure functions on rows."""
