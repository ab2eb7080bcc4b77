// What goes between a view in this page and its kernel. See channel.py for the rules.

import type { Model, Request } from "./wire.ts";

/** The messages of each kind; the type of a store's events relates bodies to kinds. */
export type Handlers = Record<string, ((body: any) => void) | undefined>;

export interface Channel {
  post(body: Request): void;
  /** Ask for a snapshot. */
  hello(): void;
  close(): void;
}

interface Numbered {
  n: number;
  full: boolean;
  heard: number;
}

const HERE_EVERY = 5000;

/**
 * Listen to the kernel's messages of one model, for all its views in this page.
 * @param handlers by the kind (`t`) of message, and `gone` for when the kernel turns out to have ended
 * @param page the name of this page if the kernel is to know it: answers to others are not heard then
 * @param greeting what a hello says beside that
 */
export function connect(model: Model, handlers: Handlers, page?: string, greeting: () => object = () => ({})): Channel {
  let number = 0;
  let waiting = true;
  let spokeAt = performance.now();
  let heard = -1;
  let heardWhenSpoken = -2;

  const post = (body: Request) => {
    spokeAt = performance.now();
    try {
      model.send(page === undefined ? body : { ...body, page });
    } catch {
      handlers.gone?.(undefined);
    }
  };
  const hello = () => {
    waiting = true;
    post({ t: "hello", ...greeting() });
  };
  const onMessage = (content: { json?: unknown } | undefined) => {
    if (typeof content?.json !== "string") return;
    const body = JSON.parse(content.json);
    if (body.page !== undefined && body.page !== page) return;
    if (body.t === "update") follow(body);
    if (body.t === "anyone") post({ t: "here" });
    handlers[body.t]?.(body);
  };
  const follow = (body: Numbered) => {
    const gap = body.n !== number + 1 && !body.full;
    number = body.n;
    if (body.full) waiting = false;
    if (gap && !waiting) hello();
    heard = body.heard;
    // The kernel slows down for silent pages. Not again before it has read the last one: a busy kernel would pile
    // these up.
    if (performance.now() - spokeAt > HERE_EVERY && heard !== heardWhenSpoken) {
      heardWhenSpoken = heard;
      post({ t: "here" });
    }
  };

  model.on("msg:custom", onMessage);
  hello();
  return {
    post,
    hello,
    close() {
      model.off("msg:custom", onMessage);
      post({ t: "bye" });
    },
  };
}

/**
 * Share what belongs to a model between its views in this page: made with the first, closed with the last.
 */
export function sharing<T extends { close(): void }>(make: (model: Model) => T) {
  const shared = new Map<unknown, { value: T; views: number }>();
  return {
    open(model: Model): T {
      const key = model.get("static_class");
      const entry = shared.get(key) ?? { value: make(model), views: 0 };
      entry.views += 1;
      shared.set(key, entry);
      return entry.value;
    },
    close(model: Model): void {
      const key = model.get("static_class");
      const entry = shared.get(key);
      if (!entry || --entry.views > 0) return;
      shared.delete(key);
      entry.value.close();
    },
  };
}

/** Hide the static forms of a view while it lives; returns the function that shows them again. */
export function hideStatic(model: Model): () => void {
  const name = model.get("static_class");
  const style = document.createElement("style");
  style.textContent = `.${name}, .jp-OutputArea-child:has(.${name}) { display: none !important; }`;
  document.head.append(style);
  return () => style.remove();
}
