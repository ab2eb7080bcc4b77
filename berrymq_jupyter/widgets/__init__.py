"""Live views for notebooks: `MessageLog`, `QueueView`."""

from .message_log import MessageLog

__all__ = ["MessageLog"]
