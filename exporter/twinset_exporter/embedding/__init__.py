"""Embeds a folder of pictures in bulk, through Triton.

`run` is the way in. `pictures` lists and decodes, `triton_model` asks a Triton, which may be one of our own
(`own_triton`); what is done lies in `parts` until all is done and `files` writes it in the format wanted.
"""
