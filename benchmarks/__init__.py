"""Programs that measure twinset: how fast, and how good its answers are. Each writes its figures to build/figures."""
