// What goes between a view in this page and its kernel. See channel.py for the rules.

const HERE_EVERY = 5000;

/**
 * Listen to the kernel's messages of one model, for all its views in this page.
 * @param {object} model anywidget's model
 * @param {Object<string, function(object): void>} handlers by the kind (`t`) of message, and `gone` for when the kernel
 *   turns out to have ended
 */
export function connect(model, handlers) {
  let number = 0;
  let waiting = true;
  let spokeAt = performance.now();
  let heard = -1;
  let heardWhenSpoken = -2;

  const post = (body) => {
    spokeAt = performance.now();
    try {
      model.send(body);
    } catch {
      handlers.gone?.();
    }
  };
  const hello = () => {
    waiting = true;
    post({ t: "hello" });
  };
  const onMessage = (content) => {
    if (typeof content?.json !== "string") return;
    const body = JSON.parse(content.json);
    if (body.t === "update") follow(body);
    if (body.t === "anyone") post({ t: "here" });
    handlers[body.t]?.(body);
  };
  const follow = (body) => {
    const gap = body.n !== number + 1 && !body.full;
    number = body.n;
    if (body.full) waiting = false;
    if (gap && !waiting) hello();
    heard = body.heard;
    // The kernel slows down for pages that say nothing. Not again before it heard the last: a busy kernel would pile
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
    close() {
      model.off("msg:custom", onMessage);
      post({ t: "bye" });
    },
  };
}

/**
 * Share what belongs to a model between its views in this page: made with the first, closed with the last.
 * @template T
 * @param {function(object): T & {close: function(): void}} make
 */
export function sharing(make) {
  const shared = new Map();
  return {
    /** @returns {T} */
    open(model) {
      const key = model.get("static_class");
      const entry = shared.get(key) ?? { value: make(model), views: 0 };
      entry.views += 1;
      shared.set(key, entry);
      return entry.value;
    },
    close(model) {
      const key = model.get("static_class");
      const entry = shared.get(key);
      if (!entry || --entry.views > 0) return;
      shared.delete(key);
      entry.value.close();
    },
  };
}

/** Hide the static forms of a view while it lives; returns the function that shows them again. */
export function hideStatic(model) {
  const name = model.get("static_class");
  const style = document.createElement("style");
  style.textContent = `.${name}, .jp-OutputArea-child:has(.${name}) { display: none !important; }`;
  document.head.append(style);
  return () => style.remove();
}
