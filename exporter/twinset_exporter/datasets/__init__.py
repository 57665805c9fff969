"""What heads are trained on: readers of files that others made, and splits of them.

Every reader goes through its file once, in bounded memory, runs nothing that stands in it, and raises only `DataError`.
"""
