"""The image networks that twinset can export."""
