// A list that shows any number of rows of equal height with the few elements that fit into its window. How high a row is
// says the style sheet, as `--bmq-row`: that may differ with the width.

import { framed, h } from "./dom.js";

const SPARE = 6;

/**
 * @param {object} options
 * @param {HTMLElement} options.scroller the element that scrolls; the list goes into it, below what is there
 * @param {HTMLElement} options.head what stays at the top of the scroller
 * @param {function(): HTMLElement} options.create makes an empty row
 * @param {function(HTMLElement, number): void} options.show fills a row for an index
 * @param {function(number, number): void} [options.onRange] told which indexes are in sight
 * @param {function(): void} [options.onScroll] told after the user scrolled
 * @param {function(): void} [options.onResize] told after the window became larger or smaller
 */
export function createVirtualList({ scroller, head, create, show, onRange, onScroll, onResize }) {
  const body = h("div", { class: "bmq-rows", role: "rowgroup" });
  const pool = [];
  let count = 0;
  let rowHeight = 24;
  let own = -1;
  scroller.append(body);

  const room = () => Math.max(0, scroller.clientHeight - head.offsetHeight);
  const lowest = () => Math.max(0, count * rowHeight - room());

  function draw() {
    const top = Math.min(scroller.scrollTop, lowest());
    const first = Math.max(0, Math.floor(top / rowHeight) - SPARE);
    const last = Math.min(count, Math.ceil((top + room()) / rowHeight) + SPARE);
    while (pool.length < last - first) {
      const row = create();
      pool.push(row);
      body.append(row);
    }
    for (let slot = 0; slot < pool.length; slot++) {
      // In the order in which they are seen: that is how they are read aloud.
      const index = first + slot;
      const element = pool[slot];
      const used = index < last;
      element.hidden = !used;
      if (!used) continue;
      element.style.transform = `translateY(${index * rowHeight}px)`;
      show(element, index);
    }
    onRange?.(first, last);
  }

  const redraw = framed(draw);

  function scrollTo(top) {
    const target = Math.max(0, Math.min(top, lowest()));
    if (Math.abs(target - scroller.scrollTop) < 0.5) return;
    own = target;
    scroller.scrollTop = target;
  }

  /** Look how high rows are now; what was at the top stays there. */
  function measure() {
    const now = parseFloat(getComputedStyle(scroller).getPropertyValue("--bmq-row")) || rowHeight;
    if (now === rowHeight) return;
    const index = scroller.scrollTop / rowHeight;
    rowHeight = now;
    body.style.height = `${count * rowHeight}px`;
    scrollTo(index * rowHeight);
  }

  scroller.addEventListener(
    "scroll",
    () => {
      const mine = own >= 0 && Math.abs(scroller.scrollTop - own) < 2;
      own = -1;
      if (!mine) onScroll?.();
      redraw();
    },
    { passive: true },
  );
  const resized = new ResizeObserver(() => {
    measure();
    onResize?.();
    redraw();
  });
  resized.observe(scroller);

  return {
    body,
    redraw,
    /** Change the number of rows; `shift` rows were added above what is in sight (negative: removed). */
    resize(rows, shift) {
      count = rows;
      body.style.height = `${rows * rowHeight}px`;
      if (shift) scrollTo(scroller.scrollTop + shift * rowHeight);
      redraw();
    },
    toTop: () => scrollTo(0),
    toBottom: () => scrollTo(lowest()),
    atTop: () => scroller.scrollTop < 2,
    atBottom: () => scroller.scrollTop > lowest() - rowHeight / 2,
    /** Scroll as little as needed to have the row in sight. */
    reveal(index) {
      const top = index * rowHeight;
      if (top < scroller.scrollTop) scrollTo(top);
      else if (top + rowHeight > scroller.scrollTop + room()) scrollTo(top + rowHeight - room());
      redraw();
    },
    rowsInSight: () => Math.max(1, Math.floor(room() / rowHeight)),
    close() {
      redraw.cancel();
      resized.disconnect();
    },
  };
}
