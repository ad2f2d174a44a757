"""Many runs as a static site: an index, a page for every run, and one for every suite on a machine with its history."""
