"""Exports at a lower precision: faster, and published only behind a gate against the fp32 vectors."""
