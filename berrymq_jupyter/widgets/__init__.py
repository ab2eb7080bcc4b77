"""Live views for notebooks."""

from .message_log import MessageLog
from .network_view import NetworkView
from .progress_view import ProgressView
from .queue_view import QueueView
from .send_form import SendForm

__all__ = ["MessageLog", "NetworkView", "ProgressView", "QueueView", "SendForm"]
