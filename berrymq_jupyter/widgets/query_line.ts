// The line in which a log is filtered: what is typed becomes chips, one for each term of the query.

import { button, fill, h, icon, setAttributes } from "./dom.ts";
import { createComplaint, uniquePrefix } from "./field.ts";
import { safe } from "./format.ts";
import { type Known, QueryError, anyOf, completions, isUnfinished, parseQuery, splitQuery } from "./query.ts";

const TYPING_MS = 250;
const HINT = "filter: train:*  loss<0.3  -daq:*  text";
const HELP =
  'Terms that must all hold: train:* or train:epoch|run:*, from:worker*, loss<0.3, opts.lr=0.1, version="5" for text, /regex/, "some text"; - before one leaves out what has it';

export interface QueryLineOptions {
  /** Called with the query to filter by, and the number of the edit that made it. */
  onQuery(query: string, edit: number): void;
  /** What words are completed with. */
  known(): Known;
}

/** What is known of a state of the kernel: which edit of this page it answers, and how often the kernel changed all pages. */
interface Answered {
  edit: number | null;
  generation: number;
}

/** What the tree chooses: identifiers or sources. */
export type ChosenKind = "id" | "from";

export type QueryLine = ReturnType<typeof createQueryLine>;

export function createQueryLine({ onQuery, known }: QueryLineOptions) {
  const prefix = uniquePrefix();
  const chips = h("span", { class: "bmq-chips", role: "list", "aria-label": "Terms of the filter", hidden: true });
  const input = h("input", {
    type: "text",
    class: "bmq-query-input",
    role: "combobox",
    "aria-label": "Filter",
    "aria-autocomplete": "list",
    "aria-expanded": "false",
    "aria-controls": `${prefix}-offers`,
    title: HELP,
    placeholder: HINT,
    autocomplete: "off",
    spellcheck: "false",
    oninput: typed,
    onkeydown: keys,
    onblur: () => {
      offer([]);
      if (timer === undefined && isUnfinished(query())) apply(); // it is left so
      if (latest) update(...latest);
    },
  });
  const forget = button("close", "Clear filter", () => set([], true), { class: "bmq-button bmq-icon-only bmq-small", hidden: true });
  const offers = h("div", { class: "bmq-offers", role: "listbox", id: `${prefix}-offers`, "aria-label": "Completions", hidden: true });
  const complaint = createComplaint(input, `${prefix}-query`);
  const line = h("div", { class: "bmq-query", onclick: (event) => event.target === event.currentTarget && input.focus() }, chips, input, forget);
  let terms: string[] = [];
  let offered: string[] = [];
  let active = -1;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let edit = 0; // the number of the latest change made here: its time in ms, so that those of other views of this page come before or after it
  let edited: number | null = null; // the generation of the kernel's state at the latest of them; null before the first
  let latest: [now: string, state: Answered] | null = null;

  const query = () => [...terms, input.value.trim()].filter(Boolean).join(" ");

  /** What stands here is the page's, until the kernel answers this very change. */
  function change() {
    edit = Math.max(edit + 1, Date.now());
    edited = latest?.[1].generation ?? -1;
  }

  function typed() {
    change();
    clearTimeout(timer);
    timer = setTimeout(() => apply(true), TYPING_MS);
    // Whatever ends with a blank is complete, unless that stands in quotation marks.
    if (/\s$/.test(input.value)) commit();
    offer(completions(lastWord(), known()));
    draw();
  }

  const lastWord = () => /\S*$/.exec(input.value)?.[0] ?? "";

  /** Make chips of what is typed, if it can be read. */
  function commit() {
    try {
      terms = [...terms, ...splitQuery(input.value)];
      input.value = "";
    } catch (error) {
      if (!(error instanceof QueryError)) throw error;
    }
    draw();
  }

  /** Filter by what stands here. While it `isTyped`, what lacks its end is no mistake. */
  function apply(isTyped = false) {
    clearTimeout(timer);
    timer = undefined;
    change();
    try {
      parseQuery(query());
    } catch (error) {
      if (isTyped && input.matches(":focus") && isUnfinished(query())) complaint.say("");
      else complaint.say(error instanceof QueryError ? safe(error.message) : String(error));
      return;
    }
    complaint.say("");
    onQuery(query(), edit);
  }

  function set(to: string[], focus = false) {
    terms = to;
    input.value = "";
    offer([]);
    draw();
    apply();
    if (focus) input.focus();
  }

  function draw() {
    const had = chips.childElementCount;
    fill(chips, ...terms.map(chip));
    chips.hidden = terms.length === 0;
    input.placeholder = terms.length ? "" : HINT;
    forget.hidden = terms.length === 0 && !input.value;
    if (terms.length > had) line.scrollTop = line.scrollHeight;
  }

  function chip(term: string, index: number) {
    return h(
      "span",
      { class: term.startsWith("-") ? "bmq-chip bmq-not" : "bmq-chip", role: "listitem" },
      h("button", { type: "button", class: "bmq-chip-text", title: `${safe(term)}: change it`, onclick: () => revise(index), onkeydown: (event) => chipKeys(event, index) }, safe(term)),
      h("button", { type: "button", class: "bmq-chip-close", tabindex: -1, "aria-label": `Remove ${safe(term)}`, onclick: () => remove(index) }, icon("close")),
    );
  }

  function revise(index: number) {
    change();
    const before = input.value.trim();
    input.value = terms[index];
    terms = [...terms.slice(0, index), ...terms.slice(index + 1), ...(before ? [before] : [])];
    draw();
    input.focus();
  }

  function remove(index: number) {
    set(terms.filter((_, other) => other !== index));
    const left = chips.querySelectorAll<HTMLElement>(".bmq-chip-text");
    (left[Math.min(index, left.length - 1)] ?? input).focus();
  }

  function chipKeys(event: KeyboardEvent, index: number) {
    event.stopPropagation();
    const all = [...chips.querySelectorAll<HTMLElement>(".bmq-chip-text")];
    const act = {
      Delete: () => remove(index),
      Backspace: () => remove(index),
      ArrowLeft: () => all[index - 1]?.focus(),
      ArrowRight: () => (all[index + 1] ?? input).focus(),
    }[event.key];
    if (!act) return;
    act();
    event.preventDefault();
  }

  function offer(words: string[]) {
    offered = words;
    active = -1;
    offers.hidden = words.length === 0;
    const options = words.map((word, index) => {
      const onmousedown = (event: MouseEvent) => {
        event.preventDefault(); // the line keeps the focus
        accept(index);
      };
      return h("div", { class: "bmq-offer", role: "option", id: `${prefix}-offer-${index}`, "aria-selected": "false", onmousedown }, safe(word));
    });
    fill(offers, ...options);
    setAttributes(input, { "aria-expanded": String(words.length > 0), "aria-activedescendant": null });
  }

  function activate(index: number) {
    active = (index + offered.length + 1) % (offered.length + 1); // one more: none of them
    if (active === offered.length) active = -1;
    [...offers.children].forEach((option, at) => option.setAttribute("aria-selected", String(at === active)));
    setAttributes(input, { "aria-activedescendant": active < 0 ? null : `${prefix}-offer-${active}` });
    offers.children[active]?.scrollIntoView({ block: "nearest" });
  }

  function accept(index: number) {
    const word = offered[index];
    clearTimeout(timer); // what was typed before is not what is meant
    change();
    input.value = input.value.slice(0, input.value.length - lastWord().length) + word;
    offer([]);
    if (!word.endsWith("=")) commit(); // a field wants its value
    else draw();
    if (!word.endsWith("=")) apply();
  }

  function keys(event: KeyboardEvent) {
    event.stopPropagation();
    const atStart = input.selectionStart === 0 && input.selectionEnd === 0;
    const isOpen = offered.length > 0;
    if (event.key === "Enter") {
      if (active >= 0) accept(active);
      else {
        commit();
        offer([]);
        apply();
      }
    } else if (event.key === "Tab" && active >= 0) accept(active);
    else if (event.key === "ArrowDown" && isOpen) activate(active + 1);
    else if (event.key === "ArrowUp" && isOpen) activate(active < 0 ? offered.length - 1 : active - 1);
    else if (event.key === "Escape" && isOpen) offer([]);
    else if (event.key === "Escape" && input.value) {
      input.value = "";
      typed();
    } else if (event.key === "Backspace" && atStart && terms.length) revise(terms.length - 1);
    else if (event.key === "ArrowLeft" && atStart && terms.length) chips.querySelector<HTMLElement>(".bmq-chip:last-child .bmq-chip-text")?.focus();
    else return;
    event.preventDefault();
  }

  /** What the terms choose of a kind, and the terms that do not. */
  function parts(kind: ChosenKind) {
    const chosen: string[] = [];
    const others: string[] = [];
    for (const term of terms) {
      const [read] = parseQuery(term);
      if (read.kind === kind && !read.not) chosen.push(...read.any);
      else others.push(term);
    }
    return { chosen, others };
  }

  /** Show what the kernel filters by. Text with the focus, and what it has not answered yet, is not touched. */
  function update(now: string, state: Answered) {
    latest = [now, state];
    const isPending = edited !== null && (state.edit ?? 0) < edit;
    if (isPending && (state.generation === edited || line.contains(document.activeElement))) return;
    if (now === query()) return;
    try {
      terms = splitQuery(now);
    } catch {
      return; // of a kernel of another version
    }
    input.value = "";
    draw();
  }

  return {
    element: h("div", { class: "bmq-filters" }, line, offers, complaint.element),
    focus: () => input.focus(),
    /** The patterns of identifiers, or the sources, that are chosen. */
    chosen: (kind: ChosenKind) => parts(kind).chosen,
    /** Choose identifiers by these patterns, or sources; all of them with none. */
    choose(kind: ChosenKind, chosen: string[]) {
      const { others } = parts(kind);
      set(chosen.length ? [anyOf(kind, chosen), ...others] : others);
    },
    /** Filter by a further term, or not any more if it is there already. */
    flip(term: string) {
      set(terms.includes(term) ? terms.filter((other) => other !== term) : [...terms, term]);
    },
    /** The kernel filters by what an edit made. */
    filtered(answered: number) {
      if (answered === edit) complaint.say("");
    },
    /** The kernel cannot filter by what stands here: it stays, with what is wrong beside it. */
    complain: complaint.say,
    update,
    close: () => clearTimeout(timer),
  };
}
