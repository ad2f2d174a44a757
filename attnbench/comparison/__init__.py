"""Two or more runs compared: the rule in numbers, what it means for a cell, and how stored runs come to it."""
