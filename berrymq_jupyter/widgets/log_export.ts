// The little form that puts what a MessageLog shows into a variable or a file of the notebook.

import { button, h } from "./dom.ts";
import { type Complaint, createComplaint, uniquePrefix } from "./field.ts";
import type { LogStore } from "./log_store.ts";

const KINDS = [
  ["list", "list"],
  ["DataFrame", "DataFrame"],
  [".csv", "CSV file"],
  [".jsonl", "JSON lines file"],
  [".parquet", "Parquet file"],
];

/** @returns the button with its form, `exported` called after success, and `complain(field, words)`. */
export function createExport(store: LogStore) {
  const prefix = uniquePrefix();
  const name = h("input", { class: "bmq-field", "aria-label": "Name", value: "messages", spellcheck: "false", oninput: forgive });
  const kind = h(
    "select",
    { class: "bmq-field", "aria-label": "As", onchange: forgive },
    ...KINDS.map(([value, text]) => h("option", { value }, text)),
  );
  const complaints: Record<string, Complaint> = { name: createComplaint(name, `${prefix}-name`), as: createComplaint(kind, `${prefix}-as`) };
  const form = h(
    "form",
    { class: "bmq-popup", hidden: true, onsubmit: submit },
    h("div", { class: "bmq-popup-title" }, "Put the messages that pass the filter into a variable or a file"),
    h("div", { class: "bmq-popup-row" }, name, "as", kind, h("button", { class: "bmq-button bmq-primary" }, "Export")),
    h("div", { class: "bmq-popup-row bmq-popup-more" }, button("copy", "Copy as TSV", () => store.request({ t: "tsv" }), { class: "bmq-button bmq-primary", title: "Copy the messages as tab-separated values, for a spreadsheet" })),
    ...Object.values(complaints).map((complaint) => complaint.element),
  );
  const open = button("save", "Export", () => show(form.hidden === true), { class: "bmq-button", "aria-expanded": "false" });

  function show(visible: boolean) {
    form.hidden = !visible;
    open.setAttribute("aria-expanded", String(visible));
    forgive();
    if (visible) name.select();
  }

  function close() {
    if (form.hidden) return;
    const focused = form.contains(document.activeElement);
    show(false);
    if (focused) open.focus();
  }

  function forgive() {
    for (const complaint of Object.values(complaints)) complaint.say("");
  }

  function keys(event: KeyboardEvent) {
    event.stopPropagation();
    if (event.key === "Escape") close();
  }

  function submit(event: Event) {
    event.preventDefault();
    forgive();
    store.request({ t: "export", name: name.value.trim(), as: kind.value });
  }

  return {
    element: h("div", { class: "bmq-popup-anchor", onkeydown: keys }, open, form),
    exported: close,
    /** Show what is wrong with a field; return whether it is one of this form and visible. */
    complain(field: string, words: string) {
      if (form.hidden || !complaints[field]) return false;
      complaints[field].say(words);
      (field === "as" ? kind : name).focus();
      return true;
    },
  };
}
