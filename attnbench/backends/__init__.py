"""Ways of computing LSA: the contract, the registry, and one file per backend."""
