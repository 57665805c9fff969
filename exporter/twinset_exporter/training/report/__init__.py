"""The report of a training: one HTML page that needs nothing from anywhere else, to look at.

`report` holds what a report consists of, `page` writes it. Each kind of section is a file
of its own (`curves`, `map`, `neighbours`, `confusion`, `calibration`, `table`); `projection` lays items out for a map,
and `thumbnails` makes the pictures that a page shows.
"""
