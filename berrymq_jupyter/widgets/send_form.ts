// The page's side of SendForm.

import "./views.css";
import "./lists.css";
import "./send_form.css";
import { button, fill, framed, h, keepKeys, setAttributes, setText } from "./dom.ts";
import { createComplaint, uniquePrefix } from "./field.ts";
import { clock, fullTime, safe } from "./format.ts";
import { type CommonEvents, type PlainStore, createPlainStore, createRemarks, defineView } from "./view.ts";
import type { Checked, FormState, Sent, SentEntry } from "./wire.ts";

const TYPING_MS = 300;

interface Events extends CommonEvents<FormState> {
  checked: Checked;
  sent: Sent;
}

function createView(store: PlainStore<FormState, Events>) {
  const prefix = uniquePrefix();
  const known = h("datalist", { id: `${prefix}-known` });
  const id = createField(`${prefix}-id`, "Identifier", h("input", { type: "text", list: `${prefix}-known`, placeholder: "name:action", autocomplete: "off" }));
  const payload = createField(`${prefix}-payload`, "Payload", h("textarea", { rows: 3, placeholder: "1, x=2" }));
  const notation = createChoice(prefix, { python: "Python arguments", json: "JSON" }, check);
  const reach = h("span", { class: "bmq-faint" });
  const remarks = createRemarks();
  const send = button("send", "Send", submit, { class: "bmq-button bmq-primary", type: "submit" });
  const history = h("ol", { class: "bmq-list" });
  const historyBox = h("section", { class: "bmq-list-box", "aria-label": "Sent", hidden: true }, h("h3", { class: "bmq-list-title" }, "Sent, the latest first"), history);
  const element = h(
    "form",
    { class: "bmq bmq-send", onsubmit: submit, onkeydown: keys, "aria-label": "Send a message" },
    known,
    id.element,
    payload.element,
    h("div", { class: "bmq-send-row" }, notation.element, h("div", { class: "bmq-actions" }, reach, send)),
    remarks.element,
    historyBox,
  );
  const typed = new Set<HTMLElement>();
  let begun = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const redraw = framed(draw);

  const fields = () => ({ id: id.input.value, payload: payload.input.value, as: notation.value() });

  function check() {
    payload.input.placeholder = notation.value() === "json" ? '{"x": 2}' : "1, x=2";
    clearTimeout(timer);
    timer = setTimeout(() => store.request({ t: "check", ...fields() }), TYPING_MS);
  }

  function submit(event: Event) {
    event.preventDefault();
    clearTimeout(timer);
    store.request({ t: "send", ...fields() });
  }

  function keys(event: KeyboardEvent) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      submit(event);
      event.stopPropagation();
    }
  }

  function checked(body: Checked) {
    id.complain(body.idProblem);
    payload.complain(body.payloadProblem);
    if (body.idProblem || body.payloadProblem) remarks.say(""); // what was sent before is not this
    setText(reach, body.reach);
    // What cannot be shown as it is cannot be offered either: a list of options has no escapes.
    fill(known, ...body.known.filter((value) => safe(value) === value).map((value) => h("option", { value })));
  }

  function sent(body: Sent) {
    checked(body);
    remarks.say(body.error ? `Sent ${safe(body.id)}, but: ${body.error}` : `Sent ${safe(body.id)}.`);
  }

  function draw() {
    const state = store.state;
    if (!state) return;
    if (!begun) {
      begun = true;
      // Text that was typed before the kernel's first message stays.
      if (!typed.has(id.input)) id.input.value = state.id;
      if (!typed.has(payload.input)) {
        payload.input.value = state.payload;
        notation.choose(state.as);
      }
      check();
    }
    historyBox.hidden = !state.sent.length;
    fill(history, ...[...state.sent].reverse().map(entryLine));
  }

  function entryLine(entry: SentEntry) {
    const again = () => {
      id.input.value = entry.id;
      payload.input.value = entry.payload;
      notation.choose(entry.as);
      check();
      payload.input.focus();
    };
    return h(
      "li",
      {},
      h(
        "button",
        { type: "button", class: "bmq-line", title: `${fullTime(entry.time)}: put it into the form`, onclick: again },
        h("span", { class: "bmq-faint" }, clock(entry.time)),
        h("span", { class: "bmq-line-id" }, safe(entry.id)),
        h("span", { class: "bmq-line-payload" }, safe(entry.payload)),
        h("span", { class: "bmq-line-error" }, entry.error),
      ),
    );
  }

  for (const input of [id.input, payload.input]) {
    input.addEventListener("input", () => {
      typed.add(input);
      check();
    });
  }
  const off = [
    keepKeys(element),
    store.on("update", redraw),
    store.on("checked", checked),
    store.on("sent", sent),
    store.on("problem", (body) => remarks.say(body.text)),
  ];
  redraw();
  return {
    element,
    close() {
      clearTimeout(timer);
      redraw.cancel();
      remarks.close();
      off.forEach((stop) => stop());
    },
  };
}

/** An input with its label above and what is wrong with it below. */
function createField(id: string, label: string, input: HTMLInputElement | HTMLTextAreaElement) {
  const complaint = createComplaint(input, `${id}-problem`);
  setAttributes(input, { id, class: "bmq-field", spellcheck: "false" });
  return {
    input,
    element: h("div", { class: "bmq-send-field" }, h("label", { for: id }, label), input, complaint.element),
    complain: complaint.say,
  };
}

/** A choice between a few values, as radio buttons. */
function createChoice(name: string, options: Record<string, string>, onChange: () => void) {
  const inputs = Object.keys(options).map((value, index) =>
    h("input", { type: "radio", name: `${name}-choice`, value, checked: index === 0, onchange: onChange }),
  );
  return {
    element: h(
      "fieldset",
      { class: "bmq-choice" },
      h("legend", { class: "bmq-offscreen" }, "Notation"),
      ...inputs.map((input) => h("label", {}, input, options[input.value])),
    ),
    value: () => inputs.find((input) => input.checked)?.value ?? "",
    choose(value: string) {
      for (const input of inputs) input.checked = input.value === value;
    },
  };
}

export default defineView((model) => createPlainStore<FormState, Events>(model, ["checked", "sent", "problem"]), createView);
