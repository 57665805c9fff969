"""Generated stubs of the protos in `protos/twinset/v1`."""
