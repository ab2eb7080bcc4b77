"""`SendForm` in a real JupyterLab page."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.accessibility import check_for_everybody

pytestmark = pytest.mark.timeout(120)

SHOW = """
from berrymq import follow
from berrymq_jupyter.widgets import SendForm
got = []
follow("train:*", got.append)
follow("train:fail", lambda message: 1 / 0)
rate = 0.1
SendForm("train:epoch", "1, rate=rate")
"""
TICKING = """
import threading, time
from berrymq import twitter
from berrymq_jupyter.widgets import MessageLog
told = threading.Event()

def tick():
    for number in range(10):
        sent = log.channel.number
        twitter("tick:run", number)
        while log.channel.number == sent:  # each is shown while the follower of `train:slow` waits
            time.sleep(0.01)
    told.set()

def wait(message):
    threading.Thread(target=tick, daemon=True).start()
    assert told.wait(20)

follow("train:slow", wait)
log = MessageLog("tick:*")
log
"""


@pytest.fixture
def form(notebooks):
    """A form that is filled in already, and who sends with it."""
    notebook = notebooks.create("send", [SHOW])
    notebook.run(0)
    form = notebook.output(0).get_by_role("form", name="Send a message")
    expect(form).to_be_visible()
    form.notebook = notebook
    return form


def test_a_message_is_sent(form):
    expect(form.get_by_label("Identifier")).to_have_value("train:epoch")
    expect(form).to_contain_text("reaches 1 follower here")
    form.get_by_role("button", name="Send").click()
    expect(form.get_by_role("status")).to_have_text("Sent train:epoch.")
    form.get_by_label("JSON").check()
    form.get_by_label("Payload").fill('{"rate": [1, null]}')
    form.get_by_label("Payload").press("Control+Enter")
    expect(form.get_by_role("region", name="Sent").get_by_role("button")).to_have_count(2)
    sent = "[(message.args, dict(message.kwargs)) for message in got]"
    assert form.notebook.execute(sent) == "[((1,), {'rate': 0.1}), ((), {'rate': [1, None]})]"
    form.get_by_role("region", name="Sent").get_by_role("button").last.click()
    expect(form.get_by_label("Payload")).to_have_value("1, rate=rate")
    expect(form.get_by_label("Python arguments")).to_be_checked()


def test_mistakes_stand_beside_their_field(form):
    form.get_by_label("Identifier").fill("a:b:c")
    form.get_by_label("Payload").fill("1, x=")
    for label, problem in (
        ("Identifier", "more than one ':'"),
        ("Payload", "not a list of Python arguments"),
    ):
        field = form.get_by_label(label, exact=True)
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(field).to_have_accessible_description(re.compile(re.escape(problem)))
    form.get_by_label("Identifier").fill("train:fail")
    form.get_by_label("Payload").fill("unknown")
    expect(form.get_by_label("Payload")).not_to_have_attribute("aria-invalid", "true")
    form.get_by_role("button", name="Send").click()
    expect(form).to_contain_text("NameError")
    form.get_by_label("Payload").fill("")
    form.get_by_role("button", name="Send").click()
    expect(form.get_by_role("status")).to_have_text(
        "Sent train:fail, but: ZeroDivisionError: division by zero"
    )


def test_what_would_end_the_kernels_thread_is_told(form):
    form.notebook.execute("import sys; follow('train:exit', lambda message: sys.exit(3))")
    form.get_by_label("Payload").fill("__import__('sys').exit(3)")
    form.get_by_role("button", name="Send").click()
    expect(form.get_by_label("Payload")).to_have_accessible_description(re.compile("SystemExit: 3"))
    form.get_by_label("Payload").fill("")
    form.get_by_label("Identifier").fill("train:exit")
    form.get_by_role("button", name="Send").click()
    expect(form.get_by_role("status")).to_have_text("Sent train:exit, but: SystemExit: 3")
    form.get_by_label("Identifier").fill("train:epoch")
    form.get_by_role("button", name="Send").click()
    expect(form.get_by_role("status")).to_have_text("Sent train:epoch.")


def test_other_views_live_while_a_follower_takes_its_time(form):
    log = form.notebook.append(TICKING)
    form.notebook.run(log)
    status = form.notebook.output(log).locator(".bmq-status")
    form.get_by_label("Identifier").fill("train:slow")
    expect(form).to_contain_text("reaches 2 followers here")
    form.get_by_role("button", name="Send").click()
    expect(status).to_have_text("10 messages")
    expect(form.get_by_role("status")).to_have_text("Sent train:slow.")


def test_a_form_whose_kernel_ended_keeps_what_was_typed(form):
    form.get_by_label("Payload").fill("'typed'")
    form.notebook.restart()
    expect(form.get_by_text("The kernel that fed this view has ended.")).to_be_visible()
    payload = form.get_by_label("Payload")
    expect(payload).not_to_be_editable()
    expect(payload).to_have_value("'typed'")
    payload.press("Control+Enter")
    send = form.get_by_role("button", name="Send")
    send.focus()
    expect(send).not_to_be_focused()


def test_hostile_text_is_shown_as_text(form):
    form.get_by_label("Identifier").fill("<b>x</b>\u202e:run")
    form.get_by_label("Payload").fill("'<i>\u202e</i>'")
    form.get_by_role("button", name="Send").click()
    expect(form.get_by_role("status")).to_have_text("Sent <b>x</b>\\u202e:run.")
    line = form.get_by_role("region", name="Sent").get_by_role("button")
    expect(line).to_contain_text("<b>x</b>\\u202e:run'<i>\\u202e</i>'")
    assert form.locator("b, i").count() == 0
    line.click()
    expect(form.get_by_label("Payload")).to_have_value("'<i>\u202e</i>'")


def test_a_page_that_is_loaded_again_has_what_was_typed(form):
    form.get_by_label("JSON").check()
    form.get_by_label("Payload").fill("[1]")
    form.get_by_label("Identifier").fill("train:fail")
    expect(form).to_contain_text("reaches 2 followers here")
    notebook = form.notebook
    notebook.save()
    notebook.page.reload()
    notebook.wait_for_kernel()
    form = notebook.output(0).get_by_role("form", name="Send a message")
    expect(form.get_by_label("Identifier")).to_have_value("train:fail")
    expect(form.get_by_label("Payload")).to_have_value("[1]")
    expect(form.get_by_label("JSON")).to_be_checked()


def test_known_identifiers_are_offered(form):
    form.get_by_label("Identifier").fill("tr")
    offered = form.locator("datalist option")
    expect(offered).to_have_count(2)
    assert offered.evaluate_all("(options) => options.map((option) => option.value)") == [
        "train:*",
        "train:fail",
    ]


def test_it_can_be_read_by_everybody(form):
    form.get_by_role("button", name="Send").click()
    expect(form.get_by_role("region", name="Sent")).to_be_visible()
    form.get_by_label("Identifier").fill("a:b:c")
    expect(form).to_contain_text("more than one ':'")
    check_for_everybody(form.notebook, form, "send")
