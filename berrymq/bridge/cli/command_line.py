"""The command ``berrymq``: a hub, and messages to and from it without writing Python.

Exit codes: 0 for success, 1 for an error, 2 for a wrong command line, 130 for Ctrl-C, 128 plus its number for
another signal. No access token is an argument, since other users of the machine can read those.

This file parses and reports; what the commands do is in ``commands.py`` and ``hub.py``, which are imported
only for the command that was given, so that ``--help`` and errors come at once.
"""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import berrymq
from berrymq.bridge.errors import LinkError
from berrymq.bridge.protocol.limits import KEEP_LAST
from berrymq.errors import BerryMQError
from berrymq.printable import printable

from . import values
from .terminal import OutputError, open_streams, silence_output

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from .commands import Destination

__all__ = ["run"]

UPSTREAM_VARIABLE = "BERRYMQ_UPSTREAM"

_EXAMPLES = {
    "": """
        berrymq follow 'train:*'                 print messages as they come
        berrymq twitter train:epoch 3 loss=0.12  send one
        berrymq nodes                            list linked nodes
    """,
    "hub": """
        berrymq hub                      on this machine, until Ctrl-C
        berrymq hub --detached           in the background, until a minute after its last node has left
        berrymq hub --upstream nats://lab.example.org    with the hubs of other machines
        berrymq hub --host 0.0.0.0 --certificate cert.pem --key key.pem --access-token-file token.txt
    """,
    "follow": """
        berrymq follow 'test:*'
        berrymq follow 'train:*' --past 100
        berrymq follow --json 'test:*' '*:error' | jq .kwargs
    """,
    "twitter": """
        berrymq twitter test:run 1 x=2
        berrymq twitter note:add 'two words' tags="['a', 'b']"
        berrymq twitter test:run -- -x --y
    """,
    "get": """
        berrymq get 'task:*'
        berrymq get 'task:*' --timeout 5 --json
    """,
    "keep": """
        berrymq keep 'train:*'           from now on, the last 1,000 messages of each identifier
        berrymq keep                     list what is kept, how much of it, since when and by whom
        berrymq keep 'train:*' --drop
    """,
    "nodes": """
        berrymq nodes
        berrymq nodes --json
    """,
}


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code.

    Every error of ours is one line on standard error; a traceback is a mistake of the program itself. A
    reader that closes the pipe, as ``head`` does, is no error.

    Args:
        argv: the words of the command line; by default those of the process.

    Returns:
        0 for success, else 1; a wrong command line exits with 2.
    """
    open_streams()
    options = _options(argv)
    command: Callable[[argparse.Namespace], int] = options.run
    try:
        return command(options)
    except OutputError as error:
        silence_output()
        if error.is_closed:  # the reader has closed the pipe
            return 0
        _complain(f"can't write: {error}")
    except BerryMQError as error:
        # A secret is read from a file, since other users can read a command line.
        _complain(str(error).replace("as access_token=", "with --access-token-file FILE"))
    except OSError as error:
        _complain(error.strerror or str(error))
    return 1


def _complain(text: str) -> None:
    """Print an error, if standard error is still open; text of other nodes in it can't move the cursor."""
    with suppress(OSError):
        sys.stderr.write(f"berrymq: {printable(text)}\n")


# What the commands do with their arguments.


def _hub(options: argparse.Namespace) -> int:
    """Run a hub, or start one in the background."""
    from berrymq.bridge.addresses import is_loopback
    from berrymq.bridge.nats.address import NatsAddress

    from .hub import HubOptions, hub, launch

    if not (is_loopback(options.host) or options.certificate or options.allow_insecure):
        options.parser.error(
            f"other machines reach {options.host}: give --certificate FILE, "
            "or --allow-insecure if plain text may cross that network"
        )
    if options.key and not options.certificate:
        options.parser.error("--key is the key of a certificate: give --certificate FILE, too")
    upstream = options.upstream or os.environ.get(UPSTREAM_VARIABLE)
    if options.detached:
        if upstream:  # it may have a password, which must not be seen among the arguments of a process
            os.environ[UPSTREAM_VARIABLE] = upstream
        return launch(_hub_arguments(options))
    settings = HubOptions(
        host=options.host,
        port=options.port,
        idle=options.idle,
        access_token=_read_token(options.access_token_file),
        allow_insecure=options.allow_insecure,
        hosts=tuple(options.allow_host),
        origins=tuple(options.allow_origin),
        certificate=options.certificate,
        key=options.key,
        upstream=NatsAddress.parse(upstream) if upstream else None,
    )
    if options.keep_memory is not None:
        settings = replace(settings, keep_bytes=options.keep_memory << 20)
    if options.keep_messages is not None:
        settings = replace(settings, keep_messages=options.keep_messages)
    return hub(settings, options.memory, detach_when_ready=options.detach_when_ready)


def _hub_arguments(options: argparse.Namespace) -> list[str]:
    """Return the arguments of the hub in the background, which runs in another directory."""
    from berrymq.bridge.discovery.starting import IDLE_SECONDS

    idle = IDLE_SECONDS if options.idle is None else options.idle
    arguments = [f"--host={options.host}", f"--port={options.port}", f"--idle={idle:g}"]
    arguments += [f"--allow-host={host}" for host in options.allow_host]
    arguments += [f"--allow-origin={origin}" for origin in options.allow_origin]
    valued = ("certificate", "key", "access_token_file", "memory", "keep_memory", "keep_messages")
    for option in valued:
        if (value := getattr(options, option)) is not None:
            arguments.append(f"--{option.replace('_', '-')}={value}")
    return arguments + ["--allow-insecure"] * options.allow_insecure


def _follow(options: argparse.Namespace) -> int:
    from .commands import follow

    return follow(_destination(options), options.identifiers, past=options.past, json=options.json)


def _keep(options: argparse.Namespace) -> int:
    from .commands import keep

    if options.drop and not options.identifiers:
        options.parser.error("--drop needs an identifier")
    return keep(
        _destination(options),
        options.identifiers,
        last=options.last,
        drop=options.drop,
        json=options.json,
    )


def _get(options: argparse.Namespace) -> int:
    from .commands import get

    return get(
        _destination(options),
        options.identifiers,
        count=options.count,
        timeout=options.timeout,
        json=options.json,
    )


def _twitter(options: argparse.Namespace) -> int:
    from .commands import twitter

    try:
        args, kwargs = values.payload(options.payload)
    except argparse.ArgumentTypeError as error:
        options.parser.error(str(error))
    return twitter(_destination(options), options.identifier, args, kwargs)


def _nodes(options: argparse.Namespace) -> int:
    from .commands import nodes

    return nodes(_destination(options), json=options.json)


def _destination(options: argparse.Namespace) -> Destination:
    """Return the hub that the options name, with its access token.

    A token in the environment belongs to the hub that the environment names; only if it names none, the
    token goes to the hub of ``--url``.
    """
    from .commands import Destination

    token = _read_token(options.access_token_file)
    if token is None and options.url and not os.environ.get("BERRYMQ_HUB_URL"):
        token = os.environ.get("BERRYMQ_HUB_TOKEN") or None
    return Destination(options.url, token, options.name, options.room)


def _read_token(path: Path | None) -> str | None:
    """Return the access token in a file; None without a file.

    Raises:
        LinkError: it can't be read, or holds no access token.
    """
    if path is None:
        return None
    from berrymq.bridge.access_token import check_access_token

    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise LinkError(f"can't read the access token from {path}: {error}") from None
    if reason := check_access_token(token):
        raise LinkError(f"{path}: {reason}")
    return token


# How arguments are written.


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the words of the command line; exit with 2 if they are wrong."""
    parser = _parser()
    try:
        words = [values.text(word) for word in (sys.argv[1:] if argv is None else argv)]
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))
    options, more = parser.parse_known_args(words)
    # argparse accepts no values behind an option that stands among them
    if any(word.startswith("-") for word in more) or not _append(options, more):
        known = "; a value that begins with - stands behind --" if "payload" in options else ""
        options.parser.error(f"unrecognized arguments: {' '.join(more)}{known}")
    return options


def _append(options: argparse.Namespace, words: list[str]) -> bool:
    """Append words to the values of the command; return False if it has no such values.

    The parser exits with an error if one is no identifier.
    """
    if "payload" in options:
        options.payload += words
    elif "identifiers" in options:
        try:
            options.identifiers += [values.identifier(word) for word in words]
        except argparse.ArgumentTypeError as error:
            options.parser.error(f"argument IDENTIFIER: {error}")
    else:
        return not words
    return True


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="berrymq",
        description="Messages between the notebooks, scripts and terminals of a working session.",
        **_style(""),
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"berrymq {berrymq.__version__}",
        help="print the version and exit",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    hub = _command(
        commands, "hub", _hub, "run this machine's hub, through which other programs exchange messages"
    )
    hub.add_argument(
        "--host", default="127.0.0.1", help="listen at this address (default: this machine alone)"
    )
    hub.add_argument(
        "--port", type=values.port, default=0, help="listen at this port (default: any that is free)"
    )
    hub.add_argument(
        "--idle",
        type=values.seconds,
        metavar="SECONDS",
        help="exit this many seconds after the last node leaves (default: never; 60 with --detached)",
    )
    hub.add_argument(
        "--memory",
        type=values.mebibytes,
        metavar="MIB",
        help="limit for messages waiting for slow nodes, in total (default: 256)",
    )
    hub.add_argument(
        "--keep-memory",
        type=values.mebibytes,
        metavar="MIB",
        help="limit for messages that are retained (see keep), in total (default: 64)",
    )
    hub.add_argument(
        "--keep-messages",
        type=values.count,
        metavar="N",
        help="limit for their number, in total (default: 100,000)",
    )
    hub.add_argument(
        "--upstream",
        metavar="URL",
        help="link this machine's nodes to those of other machines, over this NATS server "
        f"(default: {UPSTREAM_VARIABLE})",
    )
    hub.add_argument("--detached", action="store_true", help="run in the background, unless one runs already")
    hub.add_argument("--detach-when-ready", action="store_true", help=argparse.SUPPRESS)
    hub.add_argument("--certificate", type=values.path, metavar="FILE", help="use TLS with this certificate")
    hub.add_argument("--key", type=values.path, metavar="FILE", help="private key, if in a separate file")
    hub.add_argument("--allow-insecure", action="store_true", help="listen beyond this machine without TLS")
    hub.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="also accept this host name (repeatable)",
    )
    hub.add_argument(
        "--allow-origin",
        action="append",
        type=values.origin,
        default=[],
        metavar="URL",
        help="allow web pages of this origin (repeatable)",
    )
    _add_token(hub, "read the access token from this file (default: generate one)")

    follow = _command(commands, "follow", _follow, "print messages as they come, until Ctrl-C")
    _add_identifiers(follow)
    follow.add_argument(
        "--past",
        nargs="?",
        type=values.count,
        const=True,
        default=False,
        metavar="N",
        help="begin with the last N messages that the hub retains, or with all of them; see keep",
    )
    _add_destination(follow, json=True)

    keep = _command(
        commands, "keep", _keep, "have the hub retain messages for later, or list what it retains"
    )
    keep.add_argument(
        "identifiers",
        nargs="*",
        type=values.identifier,
        metavar="IDENTIFIER",
        help="which messages, like 'train:*' (default: list what is kept)",
    )
    keep.add_argument(
        "--last",
        type=values.count,
        default=KEEP_LAST,
        metavar="N",
        help=f"how many messages of each identifier (default: {KEEP_LAST:,})",
    )
    keep.add_argument("--drop", action="store_true", help="keep them no more")
    _add_destination(keep, json=True)

    twitter = _command(commands, "twitter", _twitter, "send a message")
    twitter.add_argument("identifier", type=values.identifier, metavar="IDENTIFIER", help="like test:run")
    twitter.add_argument(
        "payload",
        nargs="*",
        default=[],
        metavar="VALUE",
        help="an argument, or key=value; Python literals, anything else is text",
    )
    _add_destination(twitter, json=False)

    get = _command(commands, "get", _get, "print the next message")
    _add_identifiers(get)
    get.add_argument(
        "--timeout",
        type=values.seconds,
        metavar="SECONDS",
        help="give up after this many seconds (default: never)",
    )
    get.add_argument(
        "--count", type=values.count, default=1, metavar="N", help="number of messages to print (default: 1)"
    )
    _add_destination(get, json=True)

    nodes = _command(commands, "nodes", _nodes, "list linked nodes and what they follow")
    _add_destination(nodes, json=True)
    return parser


class _Parser(argparse.ArgumentParser):
    """A parser whose errors contain no control characters."""

    def error(self, message: str) -> Any:
        super().error(printable(message))


def _style(name: str) -> dict[str, Any]:
    examples = textwrap.indent(textwrap.dedent(_EXAMPLES[name]).strip(), "  ")
    return {
        "epilog": f"examples:\n{examples}",
        "formatter_class": argparse.RawDescriptionHelpFormatter,
        "allow_abbrev": False,
    }


def _command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    """Add a command.

    Args:
        commands: argparse's sub-parsers.
        name: of the command.
        run: called with the options; returns the exit code.
        text: what it does, in one line.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".", **_style(name)
    )
    parser.set_defaults(run=run, parser=parser)
    return parser


def _add_identifiers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "identifiers",
        nargs="+",
        type=values.identifier,
        metavar="IDENTIFIER",
        help="which messages, like 'test:*'",
    )


def _add_destination(parser: argparse.ArgumentParser, *, json: bool) -> None:
    """Add the options of commands that link to a hub."""
    if json:
        parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    parser.add_argument(
        "--url", help="link to this hub (default: BERRYMQ_HUB_URL, else the one on this machine)"
    )
    parser.add_argument("--name", help="name that other nodes see")
    parser.add_argument("--room", help="join this room")
    _add_token(
        parser, "read the access token from this file (default: BERRYMQ_HUB_TOKEN, else found automatically)"
    )


def _add_token(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--access-token-file", type=values.path, metavar="FILE", help=text)
