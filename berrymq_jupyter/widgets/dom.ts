// Elements without HTML: every text goes in as text, so nothing of a message can become markup.

const SVG = "http://www.w3.org/2000/svg";

/** What `h` takes for attributes: listeners by `on…`, and any other attribute. */
export type Attributes = {
  [K in keyof HTMLElementEventMap as `on${K}`]?: (event: HTMLElementEventMap[K] & { currentTarget: HTMLElement }) => void;
} & { [name: string]: unknown };

/** A child of an element; what is null, undefined or false is left out. */
export type Child = Node | string | number | null | undefined | false;

/**
 * Make an element. `attributes` are set as attributes, except `on…` functions (listeners), and what is null, undefined
 * or false, which is left out.
 */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  setAttributes(element, attributes);
  element.append(...nodes(children));
  return element;
}

/** Make an SVG element. */
export function svg<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Record<string, unknown> = {},
  ...children: (Node | string)[]
): SVGElementTagNameMap[K] {
  const element = document.createElementNS(SVG, tag);
  setAttributes(element, attributes);
  element.append(...children);
  return element;
}

/** Set attributes as `h` does. */
export function setAttributes(element: Element, attributes: Record<string, unknown>): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value as EventListener);
    else if (value === null || value === undefined || value === false) element.removeAttribute(name);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
}

/** Change the text of an element only if it is another one: a text node that stays keeps a selection alive. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Replace all children of an element. */
export function fill(element: Element, ...children: Child[]): void {
  element.replaceChildren(...nodes(children));
}

function nodes(children: Child[]): Node[] {
  return children
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : document.createTextNode(String(child))));
}

export type IconName = keyof typeof ICONS;

const ICONS = {
  pause: "M4 3h3v10H4zM9 3h3v10H9z",
  play: "M4 2.5v11l9-5.5z",
  check: "M6.3 13.2 1.8 8.7l1.5-1.5 3 3L12.8 3.7l1.5 1.5z",
  stop: "M3 3h10v10H3z",
  warning: "M8 1.5 15.5 14.5H.5zM7.2 6v4.5h1.6V6zm0 5.7v1.6h1.6v-1.6z",
  undo: "M6.5 2.5v3H9a5 4.5 0 0 1 0 9H5V13h4a3.5 3 0 0 0 0-6H6.5v3L1.5 6.3z",
  clear: "M6 2h4l.5 1H14v1.5H2V3h3.5zM3 6h10l-.8 8H3.8z",
  down: "M7.2 2h1.6v8l3-3 1.1 1.1L8 13 3.1 8.1 4.2 7l3 3z",
  up: "M7.2 14h1.6V6l3 3 1.1-1.1L8 3 3.1 7.9 4.2 9l3-3z",
  tree: "M2 2h5v3H5v2h3V6h6v3.5H8V8.5H5V12h3v-1h6v3.5H8v-1H3.5V5H2z",
  close: "M3.5 2.4 8 6.9l4.5-4.5 1.1 1.1L9.1 8l4.5 4.5-1.1 1.1L8 9.1l-4.5 4.5-1.1-1.1L6.9 8 2.4 3.5z",
  copy: "M5 1.5h8.5V11H11V5H5zM2.5 6H10v8.5H2.5z",
  send: "M1.5 2 15 8 1.5 14l1.5-5 6-1-6-1z",
  chart: "M2 2h1.5v10.5H14V14H2zM5 11V8h2v3zm3.5 0V4h2v7zM12 11V6.5h2V11z",
  log: "M2 2h1.5v12H2zM2 12.5h12V14H2zM5 11C8 11 9.5 8 10 2.5h1.5C11 9 9 12.5 5 12.5z",
  whole: "M2 2h4.5v1.5H3.5v3H2zM9.5 2H14v4.5h-1.5v-3h-3zM2 9.5h1.5v3h3V14H2zM12.5 9.5H14V14H9.5v-1.5h3z",
  save: "M7.2 1.5h1.6v6.3l2.2-2.2 1.1 1.1L8 10.8 3.9 6.7 5 5.6l2.2 2.2zM2 10.5h1.5v2.5h9v-2.5H14v4H2z",
  take: "M2 2.5h12V6H2zm6 11.5L4 9.5h2.8V7h2.4v2.5H12z",
  bell: "M8 1.5a4.5 4.5 0 0 1 4.5 4.5v3.5l1.5 2v1H2v-1l1.5-2V6A4.5 4.5 0 0 1 8 1.5zM6.3 13.5h3.4a1.7 1.7 0 0 1-3.4 0z",
  pin: "M8 1l2.1 4.6 5 .6-3.7 3.4 1 5L8 12.1 3.6 14.6l1-5L.9 6.2l5-.6z",
  filter: "M1.5 2.5h13L9.5 8.5v5l-3 1.5V8.5z",
  look: "M8 3c3.5 0 6 2.8 7 5-1 2.2-3.5 5-7 5s-6-2.8-7-5c1-2.2 3.5-5 7-5zm0 2a3 3 0 1 0 0 6 3 3 0 0 0 0-6z",
};

/** Make one of the icons: decoration, the button it stands in has the name. */
export function icon(name: IconName): SVGSVGElement {
  return svg(
    "svg",
    { viewBox: "0 0 16 16", width: 14, height: 14, "aria-hidden": "true", class: "bmq-icon" },
    svg("path", { d: ICONS[name], fill: "currentColor", "fill-rule": "evenodd" }),
  );
}

/** Make a button with an icon; `label` is its name, shown beside the icon where there is room. */
export function button(iconName: IconName, label: string, onclick: (event: MouseEvent) => void, attributes: Attributes = {}): HTMLButtonElement {
  const text = h("span", { class: "bmq-label" }, label);
  const element = h("button", { type: "button", class: "bmq-button", title: label, onclick, ...attributes });
  element.append(icon(iconName), text);
  if (attributes.title === undefined) element.setAttribute("aria-label", label);
  return element;
}

export interface Toggle extends HTMLButtonElement {
  press(pressed: boolean): void;
}

/** Make a button one that is in or out: its label says what holds while it is in. `press` sets that. */
export function flip(element: HTMLButtonElement): Toggle {
  const toggle = Object.assign(element, {
    press(pressed: boolean) {
      element.setAttribute("aria-pressed", String(pressed));
      element.classList.toggle("bmq-on", pressed);
    },
  });
  toggle.press(false);
  return toggle;
}

/**
 * Keep the plain keys that are pressed inside an element from JupyterLab, where an arrow moves to the next cell and two
 * d delete this one. Chords such as Ctrl-S stay Lab's. Lab listens in the capturing phase and asks the focused element
 * itself, no other, for the attribute: so it is set in the moment before. Returns the function that ends this.
 */
export function keepKeys(element: HTMLElement): () => void {
  const guard = (event: KeyboardEvent) => {
    const target = event.target;
    if (!(target instanceof Element) || !element.contains(target)) return;
    const chord = event.ctrlKey || event.metaKey || event.altKey || (event.shiftKey && event.key === "Enter");
    target.toggleAttribute("data-lm-suppress-shortcuts", !chord);
  };
  window.addEventListener("keydown", guard, true);
  return () => window.removeEventListener("keydown", guard, true);
}

export interface Framed {
  (): void;
  cancel(): void;
}

/** Run `work` once, in the next frame, however often it is asked for until then. */
export function framed(work: () => void): Framed {
  let frame = 0;
  const ask = () => {
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      work();
    });
  };
  ask.cancel = () => {
    cancelAnimationFrame(frame);
    frame = 0;
  };
  return ask;
}

/** Put text on the clipboard; resolves to whether that worked. A page without a secure context has the old way only. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h("textarea", { class: "bmq-offscreen" });
    area.value = text;
    document.body.append(area);
    const focused = document.activeElement;
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (focused instanceof HTMLElement) focused.focus();
    return done;
  }
}
