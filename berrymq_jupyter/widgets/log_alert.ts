// The alert of a MessageLog: a query, set in a popup form. Matching rows are highlighted and counted in a badge; the user
// can ask for a notification or a sound as well.

import { button, h, setAttributes, setText } from "./dom.ts";
import { createComplaint, uniquePrefix } from "./field.ts";
import { brief, counted, safe } from "./format.ts";
import type { LogStore } from "./log_store.ts";
import { QueryError, parseQuery } from "./query.ts";
import type { LogState } from "./wire.ts";

const BEEP_HZ = 880;
const BEEP_SECONDS = 0.15;
/** What one may write before the query, for the field is called so. */
const WHEN = /^\s*when\s+(?=\S)/i;

/** @param onOpen called with the number of the message to show */
export function createAlert(store: LogStore, onOpen: (number: number) => void) {
  const query = h("input", { class: "bmq-field", "aria-label": "Alert when", placeholder: "loss>1 OR *:error", spellcheck: "false", oninput: () => complaint.say("") });
  const complaint = createComplaint(query, `${uniquePrefix()}-alert`);
  const notify = h("input", { type: "checkbox", onchange: choose });
  const sound = h("input", { type: "checkbox", onchange: choose });
  const latest = h("button", { type: "button", class: "bmq-link bmq-latest", hidden: true, onclick: openLatest });
  const form = h(
    "form",
    { class: "bmq-popup", hidden: true, onsubmit: submit },
    h("div", { class: "bmq-popup-title" }, "Mark and count messages that pass a query"),
    h("div", { class: "bmq-popup-row" }, query, h("button", { class: "bmq-button bmq-primary" }, "Set alert")),
    h("div", { class: "bmq-popup-row bmq-popup-more" }, h("label", { class: "bmq-check" }, notify, "Notification"), h("label", { class: "bmq-check" }, sound, "Sound")),
    h("div", { class: "bmq-popup-row bmq-popup-more" }, button("copy", "Copy as %%follow cell", () => store.request({ t: "cell", query: query.value.replace(WHEN, "") }), { class: "bmq-button bmq-primary", title: "Copy a cell that runs its code for each message that passes the query" })),
    latest,
    complaint.element,
  );
  const badge = h("span", { class: "bmq-badge", hidden: true });
  const open = button("bell", "Alert", () => show(form.hidden === true), { class: "bmq-button", "aria-expanded": "false" });
  open.append(badge);
  const element = h("div", { class: "bmq-popup-anchor", onkeydown: keys }, open, form);
  let told: string | null = null;
  let count = 0;

  notify.checked = store.memory.look.notify === true && permitted();
  sound.checked = store.memory.look.sound === true;

  function show(visible: boolean) {
    form.hidden = !visible;
    open.setAttribute("aria-expanded", String(visible));
    complaint.say("");
    if (!visible) return;
    showLatest();
    query.value = store.state?.alert?.query ?? "";
    query.select();
    query.focus();
    seen();
  }

  function showLatest() {
    const alert = store.state?.alert;
    latest.hidden = alert?.number == null;
    setText(latest, `Show the latest: ${safe(alert?.latest ?? "")}`);
  }

  function openLatest() {
    const number = store.state?.alert?.number;
    show(false);
    if (number != null) onOpen(number);
  }

  /** Mark the matches so far as seen, and reset the badge: opening the form shows them. */
  function seen() {
    const alert = store.state?.alert;
    if (alert) store.memory.set({ alertsSeen: [alert.query, alert.count] });
    drawBadge();
  }

  function keys(event: KeyboardEvent) {
    event.stopPropagation();
    if (event.key !== "Escape" || form.hidden) return;
    show(false);
    open.focus();
  }

  async function choose() {
    if (notify.checked && !permitted()) notify.checked = (await askPermission()) === "granted";
    store.memory.set({ notify: notify.checked, sound: sound.checked });
  }

  function submit(event: Event) {
    event.preventDefault();
    query.value = query.value.replace(WHEN, "");
    try {
      parseQuery(query.value);
    } catch (error) {
      complaint.say(error instanceof QueryError ? safe(error.message) : String(error));
      return;
    }
    store.request({ t: "alert", query: query.value.trim() });
  }

  function drawBadge() {
    const alert = store.state?.alert ?? null;
    const [query, before] = store.memory.look.alertsSeen ?? ["", 0];
    const fresh = alert === null ? 0 : alert.count - (query === alert.query ? before : 0);
    badge.hidden = fresh <= 0;
    setText(badge, badge.hidden ? "" : brief(fresh));
    setAttributes(open, { "aria-label": fresh > 0 ? `Alert: ${counted(fresh, "new message")}` : "Alert", "aria-pressed": String(alert !== null) });
    open.title = alert === null ? "Alert" : `Alert when ${safe(alert.query)}`;
  }

  return {
    element,
    /** Close the form: the kernel has accepted the query. */
    done() {
      if (form.hidden) return;
      show(false);
      open.focus();
    },
    complain(field: string, words: string) {
      if (field !== "alert" || form.hidden) return false;
      complaint.say(words);
      query.focus();
      return true;
    },
    update({ alert }: LogState) {
      const isNew = alert !== null && told === alert.query && alert.count > count;
      told = alert?.query ?? null;
      count = alert?.count ?? 0;
      drawBadge();
      if (!isNew || !alert) return;
      if (sound.checked) beep();
      if (notify.checked && permitted()) new Notification(`berryMQ: ${alert.query}`, { body: alert.latest, tag: "berrymq-alert" });
    },
  };
}

function permitted() {
  return typeof Notification !== "undefined" && Notification.permission === "granted";
}

async function askPermission() {
  return typeof Notification === "undefined" ? "denied" : Notification.requestPermission();
}

function beep() {
  const context = new AudioContext();
  const tone = new OscillatorNode(context, { frequency: BEEP_HZ });
  tone.connect(new GainNode(context, { gain: 0.1 })).connect(context.destination);
  tone.onended = () => context.close();
  tone.start();
  tone.stop(context.currentTime + BEEP_SECONDS);
}
