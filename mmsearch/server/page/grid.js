// The grid of pictures: rows of one height that fill the width, loaded as they come into sight, moved in by keys.

import { thumbnail } from "./api.js";
import { el, iconButton, shown } from "./dom.js";

const GAP = 6;

/** Returns rows of widths and a height: every full row is as wide as the grid, the last one keeps the usual height. */
export function justified(ratios, width, height, gap = GAP) {
  const rows = [];
  let row = [];
  let sum = 0;
  const close = (rowHeight) => {
    rows.push({ height: rowHeight, widths: row.map((ratio) => Math.floor(ratio * rowHeight * 100) / 100) });
    [row, sum] = [[], 0];
  };
  for (const ratio of ratios) {
    row.push(ratio);
    sum += ratio;
    const fitting = (width - gap * (row.length - 1)) / sum;
    if (fitting <= height) close(fitting);
  }
  if (row.length) close(Math.min(height, (width - gap * (row.length - 1)) / sum));
  return rows;
}

/** Returns how many hits stand before the weak ones; 0 where there is nothing to divide. */
const nBeforeWeak = (hits) => Math.max(0, hits.findIndex((hit) => hit.strength === "weak"));

/** A list of pictures. `on` has open(id, event), like(id), mark(id, kind) and again(). */
export class Grid {
  constructor(list, on) {
    [this.list, this.on, this.hits, this.tiles, this.marks] = [list, on, [], new Map(), new Map()];
    this.divider = el("li", { class: "divider" }, el("span", { text: "Less likely what you asked for" }));
    list.addEventListener("keydown", (event) => this.#key(event));
    list.addEventListener("focusin", (event) => this.#activate(event.target.closest("li")));
    new ResizeObserver(() => this.#layout()).observe(list);
  }

  /** Shows these pictures; tiles of pictures that stay are kept, so that they do not flicker. */
  show(hits, addressOf) {
    const held = Number(document.activeElement.closest(".grid > li")?.dataset.id);
    this.hits = hits;
    const before = this.tiles;
    this.tiles = new Map(hits.map((hit) => [hit.id, before.get(hit.id) ?? this.#tile(hit)]));
    const [n, tiles] = [nBeforeWeak(hits), [...this.tiles.values()]];
    this.list.replaceChildren(...tiles.slice(0, n), ...(n ? [this.divider] : []), ...tiles.slice(n));
    for (const hit of hits) {
      const link = this.tiles.get(hit.id).firstChild;
      link.href = addressOf(hit.id);
      link.setAttribute("aria-label", label(hit));
      link.querySelector(".standing").textContent = hit.strength ?? hit.rank ?? "";
      this.tiles.get(hit.id).classList.toggle("weak", hit.strength === "weak");
      this.tiles.get(hit.id).classList.toggle("verified", Boolean(hit.local?.is_verified));
      this.tiles.get(hit.id).classList.toggle("missing", Boolean(hit.is_missing));
    }
    this.#activate(this.tiles.get(held) ?? this.list.firstElementChild);
    this.showMarks(this.marks);
    this.#width = 0;
    this.#layout();
    if (held) this.focus(this.tiles.has(held) ? held : hits[0]?.id); // moving a tile takes the focus from it
  }

  /** Shows which pictures are marked. */
  showMarks(marks) {
    this.marks = marks;
    for (const [id, tile] of this.tiles) {
      const mark = marks.get(id) ?? "";
      tile.dataset.mark = mark;
      const [yes, no] = tile.querySelectorAll("button");
      yes.setAttribute("aria-pressed", mark === "relevant");
      no.setAttribute("aria-pressed", mark === "irrelevant");
    }
  }

  /** Moves the focus to a picture. */
  focus(id) {
    (this.tiles.get(id) ?? this.list).querySelector("a")?.focus();
  }

  #width = 0;

  #tile(hit) {
    const image = el("img", { alt: "", loading: "lazy", decoding: "async", draggable: "false" });
    image.addEventListener("error", () => image.src && tile.classList.add("broken"));
    image.addEventListener("load", () => tile.classList.add("loaded"));
    const link = el(
      "a",
      {
        tabindex: "-1",
        draggable: "false",
        on: {
          click: (event) => {
            if (event.ctrlKey || event.metaKey || event.shiftKey) return;
            event.preventDefault();
            this.on.open(hit.id);
          },
        },
      },
      image,
      el(
        "span",
        { class: "badges" },
        el("span", { class: "badge standing" }),
        el("span", { class: "badge same", text: "same thing" }),
        el("span", { class: "badge gone", text: "file is gone" }),
      ),
      el("bdi", { class: "caption", text: shown(hit.name) }),
    );
    const mark = (kind, words, sign) =>
      iconButton(words, sign, () => this.on.mark(hit.id, kind), {
        tabindex: "-1",
        "aria-pressed": "false",
        class: kind,
      });
    const tile = el(
      "li",
      { "data-id": hit.id },
      link,
      el("div", { class: "judge" }, mark("relevant", "Relevant", "yes"), mark("irrelevant", "Not relevant", "no")),
    );
    return tile;
  }

  #layout() {
    const width = this.list.clientWidth;
    if (!width || width === this.#width) return;
    this.#width = width;
    const n = nBeforeWeak(this.hits);
    for (const hits of [this.hits.slice(0, n), this.hits.slice(n)]) this.#rows(hits, width);
  }

  #rows(hits, width) {
    const ratios = hits.map((hit) => Math.min(3, Math.max(0.45, hit.width / hit.height || 1)));
    let place = 0;
    for (const row of justified(ratios, width, width < 520 ? 130 : 210)) {
      for (const tileWidth of row.widths) this.#place(hits[place++], tileWidth, row.height);
    }
  }

  #place(hit, width, height) {
    const tile = this.tiles.get(hit.id);
    tile.style.width = `${width}px`;
    tile.style.height = `${height}px`;
    const image = tile.querySelector("img");
    if (image.src) return;
    const pixels = Math.max(width, height) * window.devicePixelRatio;
    image.src = thumbnail(hit.id, pixels > 340 ? 640 : 320);
  }

  #activate(tile) {
    if (!tile) return;
    for (const one of this.list.querySelectorAll("[tabindex='0']")) one.tabIndex = -1;
    for (const one of tile.querySelectorAll("a, button")) one.tabIndex = 0;
  }

  #key(event) {
    const tile = event.target.closest("li");
    if (!tile || event.ctrlKey || event.metaKey || event.altKey) return;
    const id = Number(tile.dataset.id);
    const actions = {
      m: () => this.on.like(id),
      r: () => this.on.mark(id, "relevant"),
      x: () => this.on.mark(id, "irrelevant"),
      s: () => this.on.again(),
      ArrowRight: () => this.#next(tile, 1),
      ArrowLeft: () => this.#next(tile, -1),
      ArrowDown: () => this.#beside(tile, 1),
      ArrowUp: () => this.#beside(tile, -1),
      Home: () => this.list.firstElementChild,
      End: () => this.list.lastElementChild,
    };
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    event.preventDefault();
    action()?.querySelector?.("a").focus();
  }

  /** Returns the tile so many places on. */
  #next(tile, by) {
    const tiles = [...this.tiles.values()];
    return tiles[tiles.indexOf(tile) + by];
  }

  /** Returns the tile of the next row in a direction whose middle is nearest. */
  #beside(tile, direction) {
    const middle = (one) => one.offsetLeft + one.offsetWidth / 2;
    const others = [...this.tiles.values()].filter(
      (one) => Math.sign(one.offsetTop - tile.offsetTop) === direction,
    );
    const top = direction > 0 ? others[0]?.offsetTop : others.at(-1)?.offsetTop;
    const row = others.filter((one) => one.offsetTop === top);
    const distance = (one) => Math.abs(middle(one) - middle(tile));
    return row.reduce((best, one) => (!best || distance(one) < distance(best) ? one : best), null);
  }
}

function label(hit) {
  const place = hit.rank ? `${hit.rank}. ` : "";
  const strength = hit.strength ? `, ${hit.strength}` : "";
  const local = hit.local?.is_verified ? ", the same thing by its details" : "";
  const gone = hit.is_missing ? ", its file is gone" : "";
  return `${place}${shown(hit.name)}${strength}${local}${gone}`;
}
