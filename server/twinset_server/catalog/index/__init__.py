"""What finds neighbours: derived from the truth, and disposable."""
