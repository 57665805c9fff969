"""What holds for all tests."""

import os

# Servers of tests run side by side, and beside one that somebody uses: their operators' ports must not meet.
os.environ["TWINSET_ADMIN__PORT"] = "0"
