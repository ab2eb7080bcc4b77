"""A `MessageLog` in a page: how it gets there, and its parts."""

SHOW = "from berrymq import twitter\nfrom berrymq_jupyter.widgets import MessageLog\nlog = MessageLog()\nlog"
TRAIN = """
for step in range(40):
    twitter("train:epoch", step, loss=1 / (step + 1), opts={"lr": 0.1, "tags": ["a", "b"]})
    if step % 4 == 0:
        twitter("note:add", f"note {step}")
"""


class Log:
    """The view below the first cell, by its parts."""

    def __init__(self, notebook, view=None):
        self.notebook = notebook
        self.view = view or notebook.output(0).locator(".bmq-log")
        self.grid = self.view.get_by_role("grid")
        self.rows = self.grid.locator(".bmq-rows .bmq-row:visible")
        self.status = self.view.locator(".bmq-status")
        self.said = self.view.get_by_role("status")
        self.filter = self.view.get_by_role("combobox", name="Filter", exact=True)
        self.terms = self.view.get_by_role("list", name="Terms of the filter").locator(".bmq-chip-text")
        self.export = self.view.locator("form", has_text="into a variable or a file")
        self.detail = self.view.get_by_role("group", name="Message", exact=True)

    def row(self, text):
        return self.rows.filter(has_text=text)

    def button(self, name):
        return self.view.get_by_role("button", name=name)

    def press(self, *keys):
        for key in keys:
            self.notebook.page.keyboard.press(key)
