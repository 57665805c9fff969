"""Commands of `twinset-exporter` on what is published; each module holds one, and `cli` registers it."""
