"""Live views for notebooks.

Each view is a widget (anywidget) in two parts: a Python object here, which collects messages, and a
TypeScript module beside it, which shows them. ``base`` is what views have in common; a ``collector`` is the
follower of a view, in the sender's thread; the ``pump`` is the one thread that processes what collectors have
collected; a ``channel`` numbers and paces updates to pages; ``static`` is the form that a saved notebook
shows. ``render`` and its neighbours turn untrusted values into bounded, printable text.
"""

from .message_log import MessageLog
from .network_view import NetworkView
from .progress_view import ProgressView
from .queue_view import QueueView
from .send_form import SendForm

__all__ = ["MessageLog", "NetworkView", "ProgressView", "QueueView", "SendForm"]
