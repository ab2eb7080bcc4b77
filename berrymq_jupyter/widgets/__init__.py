"""Live views for notebooks: `MessageLog` and `QueueView`."""

from .message_log import MessageLog
from .queue_view import QueueView

__all__ = ["MessageLog", "QueueView"]
