"""Many networks of one function at once: run, train, score."""
