"""What every part is built on: a problem as data, its cost, records of what was measured, messages and errors."""
