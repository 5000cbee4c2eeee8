"""How networks are related: compare two, find neighbors and duplicates, draw family trees."""
