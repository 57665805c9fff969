"""Trains heads on features that `twinset-exporter embed` wrote."""
