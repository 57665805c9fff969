"""The catalogue: items, pictures and vectors on disk, and what finds neighbours."""
