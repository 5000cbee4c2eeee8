"""Work in the space of codes: refine, sample, interpolate."""
