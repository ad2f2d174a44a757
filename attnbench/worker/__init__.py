"""What runs beside the parent: starters, participants, the judge. They import torch and the standard library only."""
