// A list that shows any number of rows of equal height with the few elements that fit into its window. How high a row is
// says the style sheet, as `--bmq-row`: that may differ with the width. An unseen element is as high as a row, and is
// observed: whatever changes the height, a page that gets narrower or a sheet that comes late, no painted frame has rows
// at the places of others.
//
// The rows stand in an element that sticks to the window and are placed in it by hand; beside it only an empty element of
// the list's whole height scrolls. So a frame that is painted before the scroll event is handled shows the rows of the frame
// before, never a blank: and whatever changes the list draws it at once, not in the next frame.

import { h } from "./dom.ts";

export interface ListOptions<R extends HTMLElement> {
  /** The element that scrolls; the list goes into it, below what is there. */
  scroller: HTMLElement;
  /** What stays at the top of the scroller. */
  head?: HTMLElement;
  /** The role of the element that holds the rows. */
  role: string;
  /** Makes an empty row. */
  create(): R;
  /** Fills a row for an index. */
  show(row: R, index: number): void;
  /** Called with the range of visible indexes. */
  onRange?(first: number, last: number): void;
  /** Called after the user has scrolled. */
  onScroll?(): void;
  /** Called after the window was resized. */
  onResize?(): void;
}

export function createVirtualList<R extends HTMLElement>(options: ListOptions<R>) {
  const { scroller, head, role, create, show, onRange, onScroll, onResize } = options;
  const body = h("div", { class: "bmq-rows", role });
  const spacer = h("div", { class: "bmq-spacer", role: "presentation" });
  const ruler = h("div", { role: "presentation" });
  ruler.style.cssText = "position: absolute; top: 0; left: 0; visibility: hidden; width: 1px; height: var(--bmq-row)";
  const pool: R[] = [];
  let count = 0;
  let rowHeight = 24;
  let room = 0;
  let own = -1;
  scroller.append(body, spacer, ruler);

  const windowHeight = () => Math.max(0, scroller.clientHeight - (head?.offsetHeight ?? 0));
  const lowest = () => Math.max(0, count * rowHeight - room);

  function draw() {
    if (room <= 0) return;
    const top = Math.min(Math.max(scroller.scrollTop, 0), lowest());
    const first = Math.floor(top / rowHeight);
    const last = Math.min(count, Math.ceil((top + room) / rowHeight));
    while (pool.length < last - first) {
      const row = create();
      pool.push(row);
      body.append(row);
    }
    pool.forEach((element, slot) => {
      // In the order in which they are seen: that is how they are read aloud.
      const index = first + slot;
      element.hidden = index >= last;
      if (element.hidden) {
        element.removeAttribute("id"); // which one in sight may have now
        return;
      }
      element.style.transform = `translateY(${index * rowHeight - top}px)`;
      show(element, index);
    });
    onRange?.(first, last);
  }

  function scrollTo(top: number) {
    const target = Math.max(0, Math.min(top, lowest()));
    if (Math.abs(target - scroller.scrollTop) < 0.5) return;
    own = target;
    scroller.scrollTop = target;
  }

  function layOut() {
    body.style.height = `${room}px`;
    spacer.style.height = `${lowest()}px`;
  }

  /** Look how high the window and its rows are now; what was at the top stays there. */
  function measure() {
    const height = windowHeight();
    if (height <= 0) return; // not shown now, or its styles are missing: when it is shown again, this is called again
    room = height;
    body.style.top = `${head?.offsetHeight ?? 0}px`;
    const index = scroller.scrollTop / rowHeight;
    const before = rowHeight;
    rowHeight = parseFloat(getComputedStyle(ruler).height) || rowHeight;
    layOut();
    if (before !== rowHeight) scrollTo(index * rowHeight);
  }

  function onResized() {
    measure();
    onResize?.();
    draw();
  }

  scroller.addEventListener(
    "scroll",
    () => {
      const mine = own >= 0 && Math.abs(scroller.scrollTop - own) < 2;
      own = -1;
      // A window that becomes higher may be scrolled by the browser, before its observer is called. It is called later in
      // this frame, when the styles of that are known: now they may be those of a moment that is never painted.
      if (windowHeight() !== room) return observe();
      if (!mine) onScroll?.();
      draw();
    },
    { passive: true },
  );
  const resized = new ResizeObserver(onResized);
  const measured = [scroller, ruler, ...(head ? [head] : [])];
  /** Have the observer called in this frame, before it is painted, and whenever a size changes. */
  function observe() {
    resized.disconnect();
    for (const element of measured) resized.observe(element);
  }
  observe();

  return {
    redraw: draw,
    /** Change the number of rows; `shift` rows were added above what is in sight (negative: removed). */
    resize(rows: number, shift: number) {
      count = rows;
      layOut();
      if (shift) scrollTo(scroller.scrollTop + shift * rowHeight);
      draw();
    },
    toTop() {
      scrollTo(0);
      draw();
    },
    toBottom() {
      scrollTo(lowest());
      draw();
    },
    atTop: () => scroller.scrollTop < 2,
    atBottom: () => scroller.scrollTop > lowest() - rowHeight / 2,
    /** Scroll as little as needed to have the row in sight. */
    reveal(index: number) {
      const top = index * rowHeight;
      if (top < scroller.scrollTop) scrollTo(top);
      else if (top + rowHeight > scroller.scrollTop + room) scrollTo(top + rowHeight - room);
      draw();
    },
    firstInSight: () => Math.floor(scroller.scrollTop / rowHeight),
    rowsInSight: () => Math.max(1, Math.floor(room / rowHeight)),
    close: () => resized.disconnect(),
  };
}
