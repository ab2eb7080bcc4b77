// The instructions that are shown while no nodes are linked.

import { copyText, h, setText } from "../../widgets/dom.ts";

const LINES = "%load_ext berrymq_jupyter\n%link";

export function createStart() {
  const copy = h("button", { type: "button", class: "button" }, "Copy");
  copy.addEventListener("click", async () => {
    setText(copy, (await copyText(LINES)) ? "Copied" : "Not copied: the browser does not allow it");
    setTimeout(() => setText(copy, "Copy"), 2000);
  });
  const element = h(
    "section",
    { class: "card start", "aria-labelledby": "start", hidden: true },
    h("h2", { id: "start" }, "No nodes are linked yet"),
    h("p", {}, "In a notebook, run these two lines:"),
    h("div", { class: "lines" }, h("pre", {}, h("code", {}, LINES)), copy),
    h(
      "p",
      {},
      "Do the same in a second notebook. Then follow something in one, ",
      h("code", {}, "%follow test:*"),
      ", and send it from the other: ",
      h("code", {}, "%twitter test:run 1, x=2"),
      ". Both appear here by themselves.",
    ),
    h(
      "p",
      { class: "soft" },
      "A script joins with ",
      h("code", {}, "berrymq.link()"),
      ", a terminal with ",
      h("code", {}, "berrymq follow 'test:*'"),
      ".",
    ),
  );
  return {
    element,
    show(visible: boolean) {
      element.hidden = !visible;
    },
  };
}
