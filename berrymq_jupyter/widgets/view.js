// What the pages' sides of all views have in common.

import { connect, hideStatic, sharing } from "./channel.js";
import { h, setText } from "./dom.js";

const REMARK_MS = 6000;
const GONE = "The kernel that fed this view has ended. This is what was there; run the cell again for a live view.";

/**
 * Make the module that anywidget wants.
 * @param {function(object): object} makeStore makes what all appearances of a model in this page share
 * @param {function(object): {element: HTMLElement, close: function(): void}} makeView makes one appearance
 */
export function defineView(makeStore, makeView) {
  const stores = sharing(makeStore);
  return {
    render({ model, el }) {
      const store = stores.open(model);
      const showStatic = hideStatic(model);
      const view = makeView(store);
      el.append(view.element);
      const stopWatching = watchKernel(model, store, view.element);
      return () => {
        stopWatching();
        view.close();
        view.element.remove();
        showStatic();
        stores.close(model);
      };
    },
  };
}

/** Say so when the kernel that feeds a view has gone, as after a restart: what is shown is what was there. */
function watchKernel(model, store, element) {
  const note = h("div", { class: "bmq-banner bmq-gone", role: "status" });
  const show = (gone) => {
    element.classList.toggle("bmq-ended", gone);
    note.hidden = !gone;
    setText(note, gone ? GONE : "");
    // What is shown stays, to be read, scrolled and copied; nothing can be done with it.
    for (const control of element.querySelectorAll("button, select, input, textarea")) {
      if (control.matches("textarea, input:not([type=radio])")) control.readOnly = gone;
      else control.inert = gone;
    }
  };
  // The event tells of the coming and of the going of a connection, and not which: whatever comes next, tells.
  const changed = () => show(true);
  element.prepend(note);
  show(false);
  model.on("comm_live_update", changed);
  const off = [store.on("update", () => show(false)), store.on("gone", changed)];
  return () => {
    off.forEach((stop) => stop());
    model.off("comm_live_update", changed);
  };
}

/** A set of listeners by name: `on(name, listener)` returns the function that takes it out; `tell(name, body)`. */
export function createListeners() {
  const listeners = new Map();
  return {
    on(name, listener) {
      const known = listeners.get(name) ?? listeners.set(name, new Set()).get(name);
      known.add(listener);
      return () => known.delete(listener);
    },
    tell(name, body) {
      for (const listener of listeners.get(name) ?? []) listener(body);
    },
  };
}

/**
 * The store of a view whose updates stand for themselves: `state` is the latest.
 * @param {object} model
 * @param {string[]} kinds what else the kernel sends, to be heard with `on`
 */
export function createPlainStore(model, kinds) {
  const { on, tell } = createListeners();
  const handlers = Object.fromEntries([...kinds, "gone"].map((kind) => [kind, (body) => tell(kind, body)]));
  handlers.update = (body) => {
    store.state = body;
    tell("update", body);
  };
  const channel = connect(model, handlers);
  const store = { state: null, on, request: channel.post, close: channel.close };
  return store;
}

/** A line for short remarks, read aloud, that go away by themselves. */
export function createRemarks() {
  const element = h("div", { class: "bmq-said", role: "status", "aria-live": "polite" });
  let timer = 0;
  return {
    element,
    say(words) {
      setText(element, words);
      clearTimeout(timer);
      timer = setTimeout(() => setText(element, ""), REMARK_MS);
    },
    close: () => clearTimeout(timer),
  };
}
