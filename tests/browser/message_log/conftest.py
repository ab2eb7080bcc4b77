"""Logs in a notebook of their own."""

import pytest
from playwright.sync_api import expect

from tests.browser.message_log.page import SHOW, TRAIN, Log


@pytest.fixture
def log(notebooks):
    """A log that shows nothing yet."""
    notebook = notebooks.create("log", [SHOW])
    notebook.run(0)
    log = Log(notebook)
    expect(log.view).to_be_visible()
    return log


@pytest.fixture
def trained(log):
    """A log that shows fifty messages."""
    log.notebook.execute(TRAIN)
    expect(log.status).to_have_text("50 messages")
    return log
