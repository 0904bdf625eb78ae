// The months of the library along the edge of the window: where one is, and a way to any of them.

import { el } from "./dom.js";
import { covered } from "./sticky.js";

const FEWEST = 100; // pictures that take more than a look
const MARGIN = 12;
const APART = 20; // pixels between the years
const STAYS = 1_200; // milliseconds that it is seen after scrolling, where it lies on the pictures

/** A slider over the sections of a grid. */
export class Timeline {
  #sections = [];
  #blocks = null;
  #firstBlocks = [];
  #drawn = "";
  #timer;

  constructor(track, grid) {
    [this.track, this.grid] = [track, grid];
    this.years = el("div", { "aria-hidden": "true" });
    this.thumb = el("div", { class: "thumb-mark", "aria-hidden": "true" }, el("span", {}));
    track.append(this.years, this.thumb);
    track.addEventListener("keydown", (event) => this.#key(event));
    track.addEventListener("pointerdown", (event) => {
      track.setPointerCapture(event.pointerId);
      this.#drag(event);
    });
    track.addEventListener("pointermove", (event) => track.hasPointerCapture(event.pointerId) && this.#drag(event));
  }

  /** Takes the sections that are shown; of few pictures, or of no months, there is no timeline. */
  show(sections) {
    this.#sections = sections;
    const n = sections.reduce((sum, section) => sum + section.n, 0);
    this.track.hidden = sections.length < 2 || n < FEWEST;
    document.body.classList.toggle("with-timeline", !this.track.hidden);
    this.#drawn = "";
  }

  /** Shows where the grid is, `y` pixels of whose `height` are above the window. */
  follow(y, height) {
    if (this.track.hidden || !this.grid.blocks.length) return;
    const top = Math.max(covered() + MARGIN, -y);
    const length = window.innerHeight - top - MARGIN; // nothing is read after this: the layout of the page is done once
    this.track.style.top = `${top}px`;
    this.#drawYears(height, length);
    this.thumb.style.transform = `translateY(${(length * Math.min(height, Math.max(0, y))) / height}px)`;
    const place = this.#placeAt(y);
    const title = this.#sections[place]?.title ?? "";
    if (this.track.getAttribute("aria-valuetext") === title) return;
    this.thumb.firstChild.textContent = title;
    this.track.setAttribute("aria-valuemax", this.#sections.length - 1);
    this.track.setAttribute("aria-valuenow", this.#sections.length - 1 - place); // the newest is above
    this.track.setAttribute("aria-valuetext", title);
  }

  /** Is seen for a while, where it lies on the pictures. */
  wake() {
    clearTimeout(this.#timer);
    this.track.classList.add("awake");
    this.#timer = setTimeout(() => this.track.classList.remove("awake"), STAYS);
  }

  #beginnings() {
    if (this.#blocks !== this.grid.blocks) {
      this.#blocks = this.grid.blocks;
      this.#firstBlocks = this.#blocks.filter((block) => block.offset === 0);
    }
    return this.#firstBlocks;
  }

  #placeAt = (y) => Math.max(0, this.#beginnings().findLastIndex((block) => block.top <= y + covered() + MARGIN));

  #drawYears(height, length) {
    const wanted = `${Math.round(height)} ${length}`;
    if (wanted === this.#drawn) return;
    this.#drawn = wanted;
    let [last, year] = [-APART, ""];
    const years = [];
    for (const block of this.#beginnings()) {
      const y = (length * block.top) / height;
      const own = /^\d{4}/.exec(block.key)?.[0] ?? "";
      if (own && own !== year && y - last >= APART && y < length - APART / 2) {
        const label = el("span", { text: own });
        label.style.top = `${y}px`;
        years.push(label);
        last = y;
      }
      year = own;
    }
    this.years.replaceChildren(...years);
  }

  #drag(event) {
    const { top, height } = this.track.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientY - top) / height));
    const list = this.grid.list.getBoundingClientRect();
    window.scrollTo({ top: window.scrollY + list.top + share * list.height });
  }

  #key(event) {
    const place = this.#sections.length - 1 - Number(this.track.getAttribute("aria-valuenow"));
    const yearOf = (one) => this.#sections[one]?.key.slice(0, 4);
    const others = this.#sections.map((_, one) => one).filter((one) => yearOf(one) !== yearOf(place));
    const places = {
      ArrowDown: place + 1,
      ArrowRight: place + 1,
      ArrowUp: place - 1,
      ArrowLeft: place - 1,
      PageDown: others.find((one) => one > place) ?? this.#sections.length - 1,
      PageUp: others.findLast((one) => one < place) ?? 0,
      Home: 0,
      End: this.#sections.length - 1,
    };
    if (!(event.key in places) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const block = this.#beginnings()[Math.min(this.#sections.length - 1, Math.max(0, places[event.key]))];
    this.grid.bringIntoView(block.first, { isFirst: true });
  }
}
