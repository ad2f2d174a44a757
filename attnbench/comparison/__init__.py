"""Two or more runs compared: the rule on numbers, verdicts of cells, and pairs and histories of stored runs."""
