"""Heads: small trained networks on a backbone's features, and the ensembles that serve them together."""
