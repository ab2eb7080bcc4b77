"""Live views for notebooks."""

from .message_log import MessageLog
from .progress_view import ProgressView
from .queue_view import QueueView
from .send_form import SendForm

__all__ = ["MessageLog", "ProgressView", "QueueView", "SendForm"]
