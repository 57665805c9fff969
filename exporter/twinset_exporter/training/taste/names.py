"""What lies in the folder of a taste training, besides what every training leaves."""

from __future__ import annotations

FACTORS = "factors"
INTERACTION = "interaction.keras"
HEAD = "taste.keras"
