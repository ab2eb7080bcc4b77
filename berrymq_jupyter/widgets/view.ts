// What the pages' sides of all views have in common.

import { connect, hideStatic, sharing } from "./channel.ts";
import { h, setText } from "./dom.ts";
import type { Model, Problem, Request } from "./wire.ts";

/** One appearance of a view in a page. */
export interface Appearance {
  element: HTMLElement;
  close(): void;
}

/** What all appearances of a model in this page share. */
export interface Store {
  on(name: "update" | "gone", listener: () => void): () => void;
  close(): void;
}

const REMARK_MS = 6000;
const GONE = "The kernel that fed this view has ended. This is what was there; run the cell again for a live view.";

/**
 * Make the module that anywidget wants.
 * @param makeStore makes what all appearances of a model in this page share
 * @param makeView makes one appearance
 */
export function defineView<S extends Store>(makeStore: (model: Model) => S, makeView: (store: S) => Appearance) {
  const stores = sharing(makeStore);
  return {
    render({ model, el }: { model: Model; el: HTMLElement }): () => void {
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

/** Show that the kernel of a view has ended, as after a restart: the view shows its last state. */
function watchKernel(model: Model, store: Store, element: HTMLElement): () => void {
  const note = h("div", { class: "bmq-banner bmq-gone", role: "status" });
  const show = (gone: boolean) => {
    element.classList.toggle("bmq-ended", gone);
    note.hidden = !gone;
    setText(note, gone ? GONE : "");
    // What is shown stays, to be read, scrolled and copied; nothing can be done with it.
    for (const control of element.querySelectorAll<HTMLInputElement>("button, select, input, textarea")) {
      if (control.matches("textarea, input:not([type=radio])")) control.readOnly = gone;
      else control.inert = gone;
    }
  };
  // The event is fired when a connection opens and when it closes, without saying which: the next message shows it.
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

/** A set of listeners by name: `on(name, listener)` returns the function that takes it out; `emit(name, body)`. */
export function createListeners<E extends object>() {
  const listeners = new Map<keyof E, Set<(body: any) => void>>();
  return {
    on<K extends keyof E>(name: K, listener: (body: E[K]) => void): () => void {
      const known = listeners.get(name) ?? new Set();
      listeners.set(name, known.add(listener));
      return () => known.delete(listener);
    },
    emit<K extends keyof E>(name: K, body: E[K]): void {
      for (const listener of listeners.get(name) ?? []) listener(body);
    },
  };
}

/** What every kernel may send, and what becomes of it. */
export interface CommonEvents<S> {
  update: S;
  problem: Problem;
  gone: undefined;
}

export interface PlainStore<S, E extends CommonEvents<S> = CommonEvents<S>> {
  state: S | null;
  on<K extends keyof E>(name: K, listener: (body: E[K]) => void): () => void;
  request(body: Request): void;
  close(): void;
}

/**
 * The store of a view whose updates stand for themselves: `state` is the latest.
 * @param kinds further messages of the kernel, for listeners added with `on`
 */
export function createPlainStore<S, E extends CommonEvents<S> = CommonEvents<S>>(
  model: Model,
  kinds: (keyof E & string)[],
): PlainStore<S, E> {
  const { on, emit } = createListeners<E>();
  const channel = connect(model, {
    ...Object.fromEntries(kinds.map((kind) => [kind, (body: any) => emit(kind, body)])),
    gone: () => emit("gone", undefined as E["gone"]),
    update(body: S) {
      store.state = body;
      emit("update", body as E["update"]);
    },
  });
  const store: PlainStore<S, E> = { state: null, on, request: channel.post, close: channel.close };
  return store;
}

/** A line for short remarks, read aloud, that go away by themselves. */
export function createRemarks() {
  const element = h("div", { class: "bmq-said", role: "status", "aria-live": "polite" });
  let timer: ReturnType<typeof setTimeout> | undefined;
  return {
    element,
    say(words: string) {
      setText(element, words);
      clearTimeout(timer);
      timer = setTimeout(() => setText(element, ""), REMARK_MS);
    },
    close: () => clearTimeout(timer),
  };
}
