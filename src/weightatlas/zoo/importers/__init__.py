"""Foreign checkpoints -> zoo, one source a file."""
