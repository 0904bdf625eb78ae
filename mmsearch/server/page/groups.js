// The lists of the grid that are in the document, one for each section, with what stands above and beside them.

import { el, svg } from "./dom.js";
import { cellsOf } from "./layout.js";

/** Lists below one element, in the order of their sections. */
export class Groups {
  #groups = new Map();
  #cells = new Map();

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
    }
    this.#drawCells(blocks);
  }

  /** Draws where the pictures of blocks stand, in one element each: that costs nothing, however fast one scrolls. */
  #drawCells(blocks) {
    for (const [block, { element }] of this.#cells) {
      if (blocks.includes(block)) continue;
      element.remove();
      this.#cells.delete(block);
    }
    for (const block of blocks) {
      const drawn = this.#cells.get(block) ?? this.#cellsBelow(this.#groups.get(block.key));
      this.#cells.set(block, drawn);
      if (drawn.top !== block.top) drawn.element.style.top = `${block.top}px`;
      if (drawn.rows !== block.rows || drawn.laidAt !== block.laidAt) {
        drawn.element.style.height = `${block.height}px`;
        drawn.element.classList.toggle("waiting", !block.rows);
        drawn.element.firstChild.setAttribute("d", cellsOf(block).map(outline).join(""));
      }
      Object.assign(drawn, { top: block.top, rows: block.rows, laidAt: block.laidAt });
    }
  }

  #cellsBelow({ cells }) {
    const element = svg("svg", { class: "cells" }, svg("path"));
    cells.append(element);
    return { element };
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
    const cells = el("div", { class: "outlines", "aria-hidden": "true" });
    const group = { element: el("div", {}, heading, cells, list), heading, divider, list, cells };
    this.#groups.set(key, group);
    return group;
  }
}

const outline = (cell) => {
  const [left, top, width, height] = cell.map((pixels) => pixels.toFixed(1));
  return `M${left} ${top}h${width}v${height}h-${width}z`;
};
