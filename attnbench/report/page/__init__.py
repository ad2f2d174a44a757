"""The page that shows runs: one file that opens offline."""
