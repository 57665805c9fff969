"""What holds for all tests."""

import os

# Servers of tests run side by side, and beside one that somebody uses: their operators' ports must not meet.
os.environ["TWINSET_ADMIN__PORT"] = "0"

# Before numpy is imported. OpenBLAS's threads wait for each other by spinning: where other processes want the cores,
# such as a test's own servers, products that take 1.5 s on one thread took 30.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
