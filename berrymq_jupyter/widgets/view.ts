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

/** A kernel as JupyterLab and Notebook have it, as far as it is used. */
interface Kernel {
  readonly status: string;
  readonly isDisposed: boolean;
  readonly disposed: Signal;
  readonly statusChanged: Signal;
}

interface Signal {
  connect(slot: () => void): void;
  disconnect(slot: () => void): void;
}

const REMARK_MS = 6000;
/** States of a kernel that knows nothing any more of what it showed. A busy one, or one that is out of reach, is none. */
const ENDED = new Set(["dead", "terminating", "restarting", "autorestarting"]);
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

/** The stores whose kernels have ended: what they showed stays, in views that are opened later too. */
const ended = new WeakSet<Store>();

/** Show that the kernel of a view has ended, as after a restart: the view shows its last state. */
function watchKernel(model: Model, store: Store, element: HTMLElement): () => void {
  const note = h("div", { class: "bmq-banner bmq-gone", role: "status" });
  const show = (gone: boolean) => {
    if (gone) ended.add(store);
    else ended.delete(store);
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
  show(ended.has(store));
  model.on("comm_live_update", changed);
  const off = [store.on("update", () => show(false)), store.on("gone", changed), watchStatus(model, changed)];
  return () => {
    off.forEach((stop) => stop());
    model.off("comm_live_update", changed);
  };
}

/**
 * Have `onEnd` called when JupyterLab knows that the kernel of a model has ended: a kernel that is shut down says nothing
 * to its widgets. Other hosts do not show their kernels: there it is noticed when the next thing is asked of it.
 */
function watchStatus(model: Model, onEnd: () => void): () => void {
  // What the notebook runs later is another kernel.
  const kernel = (model as { widget_manager?: { kernel?: Kernel | null } }).widget_manager?.kernel;
  if (!kernel?.disposed || !kernel.statusChanged) return () => undefined;
  const look = () => (kernel.isDisposed || ENDED.has(kernel.status)) && onEnd();
  kernel.disposed.connect(onEnd);
  kernel.statusChanged.connect(look);
  look();
  return () => {
    kernel.disposed.disconnect(onEnd);
    kernel.statusChanged.disconnect(look);
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
