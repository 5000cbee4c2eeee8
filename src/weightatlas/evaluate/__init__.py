"""How good rebuilt and generated networks are, always beside what is trivially reached."""
