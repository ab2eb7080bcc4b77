// The two fields that filter the rows of a MessageLog.

import { h } from "./dom.ts";
import { createComplaint, uniquePrefix } from "./field.ts";

const TYPING_MS = 250;

/** @param onFilter called with identifier and text to filter by */
export function createFilter(onFilter: (id: string, text: string) => void) {
  const id = field("Identifier", "identifier, as in *:run", "Filter by identifier: a name, an action, or both");
  const text = field("Payload text", "text in the payload", "Filter by text in the payload");
  const complaint = createComplaint(id, `${uniquePrefix()}-filter`);
  let timer: ReturnType<typeof setTimeout> | undefined;
  let unanswered = false; // from the first key on: what the kernel has is not what stands here

  function field(name: string, placeholder: string, title: string) {
    return h("input", {
      type: "search",
      class: "bmq-field",
      "aria-label": name,
      placeholder,
      title,
      spellcheck: "false",
      oninput: () => {
        unanswered = true;
        clearTimeout(timer);
        timer = setTimeout(apply, TYPING_MS);
      },
      onkeydown: (event) => {
        if (event.key === "Enter") apply();
        event.stopPropagation();
      },
    });
  }

  function apply() {
    clearTimeout(timer);
    unanswered = true;
    onFilter(id.value.trim(), text.value);
  }

  return {
    element: h("div", { class: "bmq-filters" }, id, text, complaint.element),
    text,
    /** Filter by these. */
    choose(pattern: string) {
      id.value = pattern;
      apply();
    },
    /** The kernel filters as it was asked to. */
    filtered() {
      unanswered = false;
      complaint.say("");
    },
    /** The kernel cannot filter by the identifier that stands here: it stays, with what is wrong beside it. */
    complain: (words: string) => complaint.say(words),
    /** Show what the kernel filters by, unless its user is about to change that. */
    update(pattern: string, words: string) {
      if (unanswered) return;
      for (const [input, value] of [[id, pattern], [text, words]] as const) {
        if (document.activeElement !== input && input.value !== value) input.value = value;
      }
    },
    close: () => clearTimeout(timer),
  };
}
