"""The command ``berrymq``: a hub, and messages to and from it without writing Python.

Exit codes: 0 for done, 1 for an error, 2 for a wrong command line, 130 for Ctrl-C. No access token is ever an
argument, since others on the machine can read those.
"""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from berrymq.bridge.access_token import check_access_token
from berrymq.bridge.addresses import is_loopback
from berrymq.bridge.errors import BridgeError, LinkError
from berrymq.errors import BerryMQError

from . import values

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .commands import Place

__all__ = ["main"]

_EXAMPLES = {
    "": """
        berrymq follow 'train:*'                 print what is said
        berrymq twitter train:epoch 3 loss=0.12  say something
        berrymq nodes                            who is there
    """,
    "hub": """
        berrymq hub                      on this machine, until Ctrl-C
        berrymq hub --detached           in the background, until a minute after its last node has left
        berrymq hub --host 0.0.0.0 --certificate cert.pem --key key.pem --access-token-file token.txt
    """,
    "follow": """
        berrymq follow 'test:*'
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
    "nodes": """
        berrymq nodes
        berrymq nodes --json
    """,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit code."""
    if sys.stdout is None:  # it was closed when this process began
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - until the end
    options = _options(argv)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        from .commands import silence_output

        silence_output()
        return 0
    except (BerryMQError, BridgeError) as error:
        sys.stderr.write(f"berrymq: {error}\n")
        return 1
    except OSError as error:  # a full disk, say
        from .commands import silence_output

        silence_output()
        sys.stderr.write(f"berrymq: can't write: {error.strerror or error}\n")
        return 1


# What the commands do with their arguments.


def _hub(options: argparse.Namespace) -> int:
    from berrymq.bridge.hub.serving import HubOptions
    from berrymq.bridge.hub.starting import IDLE_SECONDS

    from .commands import hub, launch

    if not (is_loopback(options.host) or options.certificate or options.allow_insecure):
        options.parser.error(
            f"other machines reach {options.host}: give --certificate FILE, "
            "or --allow-insecure if plain text may cross that network"
        )
    if options.detached:
        return launch(_again(options, IDLE_SECONDS))
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
        alone=options.alone,
    )
    return hub(settings, detach_when_ready=options.detach_when_ready)


def _again(options: argparse.Namespace, idle: float) -> list[str]:
    """The command line of the hub in the background, which stands in another directory."""
    idle = idle if options.idle is None else options.idle
    arguments = [f"--host={options.host}", f"--port={options.port}", f"--idle={idle:g}"]
    arguments += [f"--allow-host={host}" for host in options.allow_host]
    arguments += [f"--allow-origin={origin}" for origin in options.allow_origin]
    for option in ("certificate", "key", "access_token_file"):
        if (path := getattr(options, option)) is not None:
            arguments.append(f"--{option.replace('_', '-')}={path}")
    return arguments + ["--allow-insecure"] * options.allow_insecure + ["--alone"] * options.alone


def _follow(options: argparse.Namespace) -> int:
    from .commands import follow

    return follow(_place(options), options.identifiers, json=options.json)


def _get(options: argparse.Namespace) -> int:
    from .commands import get

    return get(
        _place(options), options.identifiers, count=options.count, timeout=options.timeout, json=options.json
    )


def _twitter(options: argparse.Namespace) -> int:
    from .commands import twitter

    try:
        args, kwargs = values.payload(options.payload)
    except argparse.ArgumentTypeError as error:
        options.parser.error(str(error))
    return twitter(_place(options), options.identifier, args, kwargs)


def _nodes(options: argparse.Namespace) -> int:
    from .commands import nodes

    return nodes(_place(options), json=options.json)


def _place(options: argparse.Namespace) -> Place:
    from .commands import Place

    token = _read_token(options.access_token_file)
    if token is None and options.url and not os.environ.get("BERRYMQ_HUB_URL"):
        token = os.environ.get("BERRYMQ_HUB_TOKEN") or None
    return Place(options.url, token, options.name, options.room)


def _read_token(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise LinkError(f"can't read the access token from {path}: {error}") from None
    if reason := check_access_token(token):
        raise LinkError(f"{path}: {reason}")
    return token


# How arguments are written.


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    options, more = _parser().parse_known_args(argv)
    if "payload" in options and not any(word.startswith("-") for word in more):
        options.payload += more  # argparse takes no values behind an option that stands among them
    elif more:
        known = "; a value that begins with - stands behind --" if "payload" in options else ""
        options.parser.error(f"unrecognized arguments: {' '.join(more)}{known}")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="berrymq",
        description="Messages between the notebooks, scripts and terminals of a working session.",
        **_style(""),
    )
    parser.add_argument("--version", action=_Version, help="print the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    hub = _command(commands, "hub", _hub, "be a hub, which other programs link to")
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
        help="end so long after the last node has left (default: never; 60 with --detached)",
    )
    hub.add_argument("--detached", action="store_true", help="run in the background, unless one runs already")
    hub.add_argument("--alone", action="store_true", help="do not link to your other hubs on this machine")
    hub.add_argument("--detach-when-ready", action="store_true", help=argparse.SUPPRESS)
    hub.add_argument("--certificate", type=values.path, metavar="FILE", help="use TLS with this certificate")
    hub.add_argument("--key", type=values.path, metavar="FILE", help="its key, where that is another file")
    hub.add_argument("--allow-insecure", action="store_true", help="listen beyond this machine without TLS")
    hub.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="answer to this host name, too"
    )
    hub.add_argument(
        "--allow-origin",
        action="append",
        type=values.origin,
        default=[],
        metavar="URL",
        help="let web pages of this origin in",
    )
    _add_token(hub, "let nodes in that have the access token in this file (default: a new one)")

    follow = _command(commands, "follow", _follow, "print messages as they come, until Ctrl-C")
    _add_identifiers(follow)
    _add_place(follow, json=True)

    twitter = _command(commands, "twitter", _twitter, "send a message")
    twitter.add_argument("identifier", type=values.identifier, metavar="IDENTIFIER", help="like test:run")
    twitter.add_argument(
        "payload",
        nargs="*",
        default=[],
        metavar="VALUE",
        help="an argument, or key=value; Python literals, anything else is text",
    )
    _add_place(twitter, json=False)

    get = _command(commands, "get", _get, "print the next message")
    _add_identifiers(get)
    get.add_argument(
        "--timeout", type=values.seconds, metavar="SECONDS", help="wait no longer (default: for ever)"
    )
    get.add_argument("--count", type=values.count, default=1, metavar="N", help="print so many (default: 1)")
    _add_place(get, json=True)

    nodes = _command(commands, "nodes", _nodes, "print who is there and what they follow")
    _add_place(nodes, json=True)
    return parser


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


def _add_place(parser: argparse.ArgumentParser, *, json: bool) -> None:
    if json:
        parser.add_argument("--json", action="store_true", help="print a JSON object a line")
    parser.add_argument(
        "--url", help="link to this hub (default: BERRYMQ_HUB_URL, else the one on this machine)"
    )
    parser.add_argument("--name", help="be known under this name")
    parser.add_argument("--room", help="join this room")
    _add_token(parser, "show the access token in this file (default: BERRYMQ_HUB_TOKEN, or found)")


def _add_token(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--access-token-file", type=values.path, metavar="FILE", help=text)


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:  # noqa: A002 - argparse's name
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        sys.stdout.write(f"berrymq {metadata.version('berrymq')}\n")
        parser.exit()
