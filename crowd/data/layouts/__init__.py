"""How data sets and labelling tools keep their points: one module a format, one registry."""
