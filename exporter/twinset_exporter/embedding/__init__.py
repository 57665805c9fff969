"""Embeds a folder of pictures in bulk, through Triton.

`run` is the way in. `pictures` lists and decodes; what is done lies in `parts` until all is done and `files` writes it
in the format wanted.
"""
