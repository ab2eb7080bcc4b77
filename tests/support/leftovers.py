"""What a file of tests has left linked, so that it does not fail the files after it."""

from berrymq.bridge import runtime as holder


def end_leftovers() -> None:
    """Close the links of this process and begin with a new runtime, if anything is left in the old one."""
    here = holder.runtime()
    for link in list(here.links):
        link.close(0.0)
    for queue in list(here.queues):
        queue.close()
    if not here.end_if_idle():
        here.loop.stop()
        holder._current = holder.Runtime()
