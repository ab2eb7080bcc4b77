// What is wrong with what was typed, beside the field in which it was typed.

import { h, setAttributes, setText } from "./dom.ts";

export interface Complaint {
  element: HTMLElement;
  say(words: string): void;
}

/**
 * Let an input complain: the words stand in `element`, and belong to the input for screen readers too.
 * @param {HTMLElement} input
 * @param {string} id an id for the words
 */
export function createComplaint(input: HTMLElement, id: string): Complaint {
  const element = h("div", { class: "bmq-problem", id, "aria-live": "polite" });
  return {
    element,
    /** `words` are "" when there is nothing to complain of */
    say(words: string) {
      setText(element, words);
      // Only then: its title describes it otherwise.
      setAttributes(input, { "aria-invalid": words ? "true" : null, "aria-describedby": words ? id : null });
    },
  };
}

/** A name for the ids of one appearance of a view in a page. */
export function uniquePrefix() {
  return `bmq-${Math.random().toString(36).slice(2)}`;
}
