"""The twinset server: keeps items, embeds pictures through Triton, and recommends over gRPC."""
