"""What this machine is, and what would make its numbers bad."""
