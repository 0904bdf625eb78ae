// The lists of the grid that are in the document, one for each section, with what stands above and beside them.

import { el } from "./dom.js";

/** Lists below one element, in the order of their sections. */
export class Groups {
  #groups = new Map();

  constructor(root) {
    this.root = root;
  }

  /** Makes the lists of blocks, which are in their order, and takes others away. */
  stand(blocks) {
    const keys = new Set(blocks.map((block) => block.key));
    for (const [key, group] of this.#groups) {
      if (!keys.has(key)) {
        group.element.remove();
        this.#groups.delete(key);
      }
    }
    let last = null;
    for (const block of blocks) {
      const group = this.#groups.get(block.key) ?? this.#group(block);
      if (group.element === last) continue;
      const next = last ? last.nextSibling : this.root.firstChild;
      if (next !== group.element) this.root.insertBefore(group.element, next);
      last = group.element;
      group.last = group.divider;
      const head = group.heading ?? group.divider;
      if (head) head.style.top = `${block.begin.top}px`;
      if (group.heading) group.heading.lastChild.textContent = block.nAll.toLocaleString("en");
      group.waiting.replaceChildren(...blocks.filter((one) => one.key === block.key && !one.pictures).map(empty));
    }
  }

  /** Adds an element of a block behind the one that was added before, unless it stands there. */
  add(block, element) {
    const group = this.#groups.get(block.key);
    const next = group.last ? group.last.nextSibling : group.list.firstChild;
    if (next !== element) group.list.insertBefore(element, next);
    group.last = element;
  }

  #group({ key, title, isWeak }) {
    const id = `group-${key.replaceAll(" ", "-")}`;
    const heading = title && el("h3", { id }, el("span", { text: title }), " ", el("span", { class: "count" }));
    const divider = isWeak && el("li", { class: "divider" }, el("span", { text: "Less likely what you asked for" }));
    const name = title ? { "aria-labelledby": id } : { "aria-label": isWeak ? "Less likely pictures" : "Pictures" };
    const list = el("ul", { role: "list", ...name }, divider);
    const waiting = el("div", { "aria-hidden": "true" });
    const group = { element: el("div", {}, heading, list, waiting), heading, divider, list, waiting };
    this.#groups.set(key, group);
    return group;
  }
}

/** Returns what stands for a block that is not loaded yet. */
function empty(block) {
  const element = el("div", { class: "waiting" });
  Object.assign(element.style, { top: `${block.top + block.head}px`, height: `${block.height - block.head - 6}px` });
  return element;
}
