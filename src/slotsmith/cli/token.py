"""`slotsmith token`: who may use the service."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slotsmith.cli.books import Source, open_readable, open_writable
from slotsmith.cli.errors import CommandError
from slotsmith.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption, StoreOption
from slotsmith.cli.output import console, moment, table, write_json
from slotsmith.clock import SystemClock, system_ids, system_secret
from slotsmith.model.durations import parse_duration
from slotsmith.text import quoted

if TYPE_CHECKING:
    from slotsmith.store.people import Role

_LONGEST_NAME = 80


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(help="Make, list and revoke the tokens of the service.", no_args_is_help=True)
    group.command("create")(create)
    group.command("list")(list_tokens)
    group.command("revoke")(revoke)
    app.add_typer(group, name="token")


def create(
    name: Annotated[str, typer.Argument(help="Whose it is; this is how the record of changes names them.")],
    role: Annotated[str, typer.Option("--role", help="view, push (the view of one pool), operate or admin.")],
    pool: Annotated[str | None, typer.Option("--pool", help="Good for this pool only; needed for push.")] = None,
    expires: Annotated[str | None, typer.Option("--expires", help="Good for so long, such as 90d.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    store: StoreOption = None,
) -> None:
    """Make a token and print it, this once: the store keeps only a hash of it."""
    from slotsmith.model.steering import Action
    from slotsmith.service.access import hash_of, written
    from slotsmith.store.people import People, Role, Token

    kind = _role(role)
    if kind is Role.PUSH and pool is None:
        raise CommandError("a token for pushing needs --pool")
    if not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
        raise CommandError(f"expected a name of at most {_LONGEST_NAME} printable characters, got {quoted(name)}")
    now, secret = SystemClock().now(), system_secret()
    token = Token(system_ids(), name.strip(), kind, hash_of(secret), now, pool, _until(expires, now))
    details = {"id": token.id, "name": token.name, "role": kind.value, "pool": pool}
    with open_writable(_url(config, store)) as books:
        People(books).add_token(token, Action(now, None, _me(), "token:create", "slotsmith token create", details))
    typer.echo(written(token.id, secret))


def list_tokens(
    config: ConfigOption = DEFAULT_CONFIG, store: StoreOption = None, json_output: JsonOption = False
) -> None:
    """Show all tokens, without their secrets."""
    from slotsmith.store.people import People

    now = SystemClock().now()
    with open_readable(_url(config, store)) as books:
        tokens = People(books).tokens()
    if json_output:
        write_json(
            {
                "tokens": [
                    {
                        "id": each.id,
                        "name": each.name,
                        "role": each.role.value,
                        "pool": each.pool,
                        "created_at": each.created_at,
                        "expires_at": each.expires_at,
                        "revoked_at": each.revoked_at,
                        "valid": each.valid(now),
                    }
                    for each in tokens
                ]
            }
        )
        return
    rows = [
        (
            each.id,
            each.name,
            each.role.value,
            each.pool or "all",
            moment(each.created_at, now),
            moment(each.expires_at, now) if each.expires_at else "never",
            "valid" if each.valid(now) else "revoked" if each.revoked_at else "expired",
        )
        for each in tokens
    ]
    console().print(table(("id", "name", "role", "pool", "made", "expires", "state"), rows))


def revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="The token's id, as `list` shows it.")],
    config: ConfigOption = DEFAULT_CONFIG,
    store: StoreOption = None,
) -> None:
    """Let a token do nothing any more; the service knows within two seconds."""
    from slotsmith.model.steering import Action
    from slotsmith.store.people import People

    action = Action(SystemClock().now(), None, _me(), "token:revoke", "slotsmith token revoke", {"id": token_id})
    with open_writable(_url(config, store)) as books:
        if not People(books).revoke(token_id, action):
            raise CommandError(f"no token {quoted(token_id)} is in use")
    typer.echo("revoked")


def _role(text: str) -> Role:
    from slotsmith.store.people import Role

    try:
        return Role(text)
    except ValueError:
        raise CommandError(f"expected a role, one of {', '.join(Role)}; got {quoted(text)}") from None


def _until(text: str | None, now: float) -> float | None:
    if text is None:
        return None
    try:
        return now + parse_duration(text)
    except ValueError as error:
        raise CommandError(f"--expires: {error}") from None


def _url(config: Path, store: str | None) -> str:
    return Source.of(config, store).url


def _me() -> str:
    try:
        return f"{getpass.getuser()} (command line)"
    except (KeyError, OSError):
        return "somebody (command line)"
