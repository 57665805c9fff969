"""What `activate`, `rollback` and `reembed` share: their options, and what they say in the end."""

from __future__ import annotations

from typing import Annotated

import typer

from twinset.v1 import admin_pb2

Model = Annotated[
    str, typer.Argument(help="The model's name, with or without its digits, or 8 or more digits of its fingerprint.")
]
Drop = Annotated[
    bool,
    typer.Option(
        "--drop", help="Switch also where items or users are left without vectors that no kept picture brings back."
    ),
]


def tell(done: admin_pb2.SwitchResult) -> None:
    """Print what was switched, and what has no vectors any more."""
    if done.model == done.former_model:
        typer.echo(f"{done.model} serves, as before")
    else:
        typer.echo(f"{done.model} serves in the place of {done.former_model}, from change {done.sequence:,} on")
    if done.picture_count:
        typer.echo(f"embedded {done.picture_count:,} pictures of {done.item_count:,} items")
    if done.dropped_item_count:
        more = ", and more" if done.dropped_item_count > len(done.dropped_item_ids) else ""
        named = ", ".join(done.dropped_item_ids)
        typer.echo(f"without vectors now: {done.dropped_item_count:,} items ({named}{more})")
    if done.dropped_user_count:
        typer.echo(f"without vectors now: {done.dropped_user_count:,} users")
