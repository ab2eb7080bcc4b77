"""What a file of tests has left linked: it is ended, and told."""

from berrymq.bridge import runtime as holder


def end_leftovers() -> list[object]:
    """Close what is linked in this process, and return what was found open.

    Whatever still holds the I/O thread after that stays behind with the old runtime.
    """
    here = holder.runtime()
    left = [*here.links, *here.connections, *here.listening, *here.nodes.values()]
    for one in [*here.links, *here.connections]:
        one.close()
    if not here.end_if_idle():
        here.loop.stop()
        holder._current = holder.Runtime()
    return left
