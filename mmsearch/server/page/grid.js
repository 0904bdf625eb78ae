// The grid of pictures: only those near to what is seen are in the document, are loaded as they come into sight, and
// moved among by keys.

import { blocksOf, found, runFrom } from "./blocks.js";
import { lay, lefts, placeAt, rowOf } from "./layout.js";
import { isWanting, Loading } from "./loading.js";
import { Pace } from "./pace.js";
import { covered } from "./sticky.js";
import { Tiles } from "./tiles.js";

const MOST_SOUGHT = 20; // blocks
const MOST_LOADED = 60; // blocks
const NEW_TILES = 10; // in one frame
const STEP = 60; // pixels that one scrolls before something is done
const FAST = 2_500; // pixels a second: nobody sees what passes by then
const SETTLED = 120; // milliseconds without scrolling
const APART = 8; // pixels between what stays in view and a picture that is moved to

/**
 * Sections of pictures, some of which are loaded when they are needed. `on` has open(id), like(id), byPart(id),
 * mark(id, kind), again(), isChosen(id), addressOf(id), more(), arrived(pictures), moved(y, height) and failed(problem), null where a thumbnail did not come.
 */
export class Grid {
  blocks = []; // of key, title, isWeak, offset in the section, n, first in the grid, isLast, pictures and its layout
  n = 0;
  hasMore = false;
  #pace = new Pace();
  #width = 0;
  #height = 0;
  #frame = 0;
  #isDue = false; // to be drawn, even if nothing moved
  #drawnY = 0;
  #isMoving = false;
  #settled;
  #wantedFocus;

  constructor(list, on) {
    [this.list, this.on, this.tiles] = [list, on, new Tiles(list, on)];
    this.loading = new Loading({
      came: (run, pictures) => this.#take(run, pictures),
      failed: on.failed,
      changed: () => this.#draw(),
    });
    list.addEventListener("keydown", (event) => this.#key(event));
    list.addEventListener("click", (event) => this.#click(event));
    list.addEventListener("focusin", ({ target }) => {
      if (this.tiles.of(target)) this.tiles.activate(this.tiles.of(target));
    });
    list.addEventListener("pointerover", ({ target }) => this.tiles.of(target)?.finish());
    list.addEventListener("error", (event) => this.#failed(event.target), true);
    window.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    window.addEventListener("resize", () => this.#draw());
    new ResizeObserver(() => this.#resized()).observe(list);
    new ResizeObserver(() => this.#draw()).observe(document.body); // what is above may have moved the list
  }

  /**
   * Shows sections, each of a key, a title or null, n pictures, and these if they are there; others are had from
   * `load(blocks)`. Without `at` it is the same list as before, and stays where it is; null is its beginning.
   * `ready()` is called when the first are loaded, just before they are shown.
   */
  async show(sections, { load = null, hasMore = false, at, signal, ready }) {
    const isSame = at === undefined;
    const kept = new Map(isSame ? this.blocks.map((block) => [`${block.key} ${block.offset}`, block]) : []);
    const blocks = sections.flatMap((section) => blocksOf(section, kept));
    blocks.reduce((first, block) => ((block.first = first), first + block.n), 0);
    if (load && !isSame && blocks.length) {
      const begin = Math.max(0, blocks.indexOf(found(blocks, at)?.block));
      const run = runFrom(blocks, begin);
      const pictures = await load(run);
      signal?.throwIfAborted();
      run.forEach((block, place) => (block.pictures = pictures[place].slice(0, block.n)));
    }
    ready();
    const [anchor, held] = [isSame ? this.place() : at, this.tiles.held?.id];
    [this.blocks, this.n, this.hasMore] = [blocks, blocks.reduce((n, one) => n + one.n, 0), hasMore];
    this.loading.start(load);
    this.#layAll();
    if (anchor) this.#scrollTo(anchor);
    else if (!isSame && this.#y() > -covered()) window.scrollTo({ top: 0 });
    if (held && !isSame && this.indexOf(held) < 0) this.tiles.get(held).link.blur(); // it need not stay
    if (!isSame) this.tiles.activate(null);
    this.#render();
    const isLost = held && this.tiles.held?.id !== held; // moving a tile takes the focus from it
    if (isLost) (this.tiles.get(held) ?? this.tiles.get(this.tiles.active))?.link.focus({ preventScroll: true });
  }

  /** Asks again for what did not come. */
  retry() {
    this.tiles.retry();
    this.loading.retry(this.blocks);
  }

  // -- places ---------------------------------------------------------------------------------------

  /** Returns which picture is first in sight, and how far from the edge; null at the beginning. */
  place() {
    const y = this.#y();
    if (y <= 0 || !this.blocks.length) return null;
    const block = this.#blockAt(y);
    const place = placeAt(block, y - block.top);
    const offset = block.top + rowOf(block, place).top - y;
    const id = block.pictures?.[place]?.id;
    return { key: block.key, index: block.offset + place, nth: block.first + place, id, offset };
  }

  /** Returns the number, from 0, of a picture that is loaded; -1 for others. */
  indexOf(id) {
    for (const block of this.blocks) {
      const place = block.pictures?.findIndex((picture) => picture.id === id) ?? -1;
      if (place >= 0) return block.first + place;
    }
    return -1;
  }

  /** Returns the picture of a number, if it is loaded. */
  pictureAt = (index) => this.#blockOf(index)?.pictures?.[index - this.#blockOf(index).first];

  /** Returns the picture of a number when it is loaded, or undefined beyond both ends. */
  async reach(index) {
    for (let n = -1; index >= this.n && this.hasMore && n !== this.n; ) {
      n = this.n;
      await this.on.more();
    }
    if (this.#blockOf(index) && !this.pictureAt(index)) await this.loading.fill([this.#blockOf(index)]);
    return this.pictureAt(index);
  }

  /** Loads the beginning of a section as far as some picture, if that is in it. */
  async seek(id, key) {
    for (const block of this.blocks.filter((one) => one.key === key).slice(0, MOST_SOUGHT)) {
      if (this.indexOf(id) >= 0) return;
      if (!block.pictures) await this.loading.fill([block]);
    }
  }

  /** Moves the focus to the picture of a number, and what is seen with it. */
  async focus(index) {
    const wanted = (this.#wantedFocus = {});
    const picture = this.pictureAt(index) ?? (await this.reach(index));
    if (!picture || wanted !== this.#wantedFocus) return;
    this.bringIntoView(index);
    this.#render({ most: Infinity });
    this.tiles.get(picture.id)?.link.focus({ preventScroll: true });
  }

  /** Scrolls no farther than it takes to see a picture. */
  bringIntoView(index, { isFirst = false } = {}) {
    const block = this.#blockOf(index);
    if (!block) return;
    const row = rowOf(block, index - block.first);
    const [top, bottom] = [block.top + row.top - this.#y(), block.top + row.bottom - this.#y()];
    const head = index === block.first ? block.head : 0;
    const least = covered() + APART;
    if (isFirst || top - head < least) window.scrollBy({ top: top - head - least });
    else if (bottom > window.innerHeight) window.scrollBy({ top: bottom + 12 - window.innerHeight });
  }

  #y = () => -this.list.getBoundingClientRect().top;
  #blockOf = (index) => (index < 0 ? undefined : this.blocks.find((block) => index < block.first + block.n));
  #blockAt = (y) => this.blocks.find((block) => y < block.top + block.height) ?? this.blocks.at(-1);

  #scrollTo(place) {
    const at = found(this.blocks, place);
    if (!at) return;
    const y = at.block.top + rowOf(at.block, at.place).top - place.offset;
    if (Math.abs(y - this.#y()) >= 1) window.scrollBy({ top: y - this.#y() });
    this.#pace.rest(); // nobody scrolled
  }

  // -- layout ---------------------------------------------------------------------------------------

  #resized() {
    if (this.list.clientWidth === this.#width) return;
    const place = this.#width ? this.place() : null;
    this.#layAll();
    if (place) this.#scrollTo(place);
    this.#render();
  }

  #layAll() {
    this.#width = this.list.clientWidth;
    let top = 0;
    for (const block of this.blocks) {
      if (block.laidAt !== this.#width || Boolean(block.rows) !== Boolean(block.pictures)) lay(block, this.#width);
      block.top = top;
      top += block.height;
    }
    this.#height = top;
    this.list.style.height = `${top}px`;
  }

  // -- what is in the document ----------------------------------------------------------------------

  #draw() {
    this.#isDue = true;
    this.#frame ||= requestAnimationFrame(() => this.#follow());
  }

  #scrolled() {
    clearTimeout(this.#settled);
    this.#settled = setTimeout(() => this.#rest(), SETTLED);
    this.#isMoving = true;
    this.#frame ||= requestAnimationFrame(() => this.#follow());
  }

  #rest() {
    this.#isMoving = false;
    this.#pace.rest();
    this.#draw();
  }

  #follow() {
    this.#frame = 0;
    const top = this.#y();
    const isFast = this.#pace.at(top) > FAST;
    if (this.#isDue || Math.abs(top - this.#drawnY) >= STEP) this.#render({ isFast });
    else this.on.moved(top, this.#height);
  }

  /** Has what is near to the window in the document, and asks for what is missing. */
  #render({ most = NEW_TILES, isFast = false } = {}) {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const [top, height] = [this.#y(), window.innerHeight];
    [this.#drawnY, this.#isDue] = [top, false];
    const margin = Math.max(700, height);
    const near = this.blocks.filter((one) => one.top < top + height + margin && one.top + one.height > top - margin);
    const distance = (y, bottom) => Math.abs((y + bottom) / 2 - top - height / 2);
    const rows = near
      .flatMap((block) => (block.rows ?? []).map((row) => ({ block, row, y: block.top + row.top })))
      .map((one) => ({ ...one, away: distance(one.y, one.y + one.row.height) }))
      .filter((one) => one.away < height / 2 + margin + one.row.height / 2)
      .sort((a, b) => a.away - b.away);
    const { held } = this.tiles;
    if (held) rows.push(...this.#rowOfHeld(held.id));
    const how = { y: top, most, isFast, isAtRest: !this.#isMoving };
    if (!this.tiles.stand(rows, near, how)) this.#draw();
    this.on.moved(top, this.#height);
    if (isFast) return;
    const away = new Map(near.map((block) => [block, distance(block.top, block.top + block.height)]));
    this.loading.ask(near.filter(isWanting).sort((a, b) => away.get(a) - away.get(b)), this.blocks);
    if (this.hasMore && this.#height < top + height + margin) this.on.more();
  }

  /** Returns the row of the picture that has the focus, wherever it is: it stays in the document. */
  #rowOfHeld(id) {
    const index = this.indexOf(id);
    const block = this.#blockOf(index);
    const row = block?.rows.findLast((one) => one.first <= index - block.first);
    return row ? [{ block, row, y: block.top + row.top, away: 0 }] : [];
  }

  // -- loading --------------------------------------------------------------------------------------

  #take(run, pictures) {
    const place = this.place();
    run.forEach((block, nth) =>
      Object.assign(block, { pictures: pictures[nth].slice(0, block.n), isStale: false, laidAt: 0 }),
    );
    const active = this.#blockOf(this.indexOf(this.tiles.active));
    const away = (block) => Math.abs(block.top - this.#drawnY);
    const loaded = this.blocks
      .filter((block) => block.pictures && block !== active && !run.includes(block))
      .sort((a, b) => away(a) - away(b));
    for (const block of loaded.slice(MOST_LOADED)) [block.pictures, block.rows] = [null, null]; // it keeps its height
    this.#layAll();
    if (place) this.#scrollTo(place);
    this.on.arrived(pictures.flat());
  }

  // -- mouse and keys -------------------------------------------------------------------------------

  #failed(image) {
    const tile = this.tiles.of(image);
    if (!tile || !image.hasAttribute("src")) return;
    tile.fail();
    this.on.failed(null);
  }

  #click(event) {
    const tile = this.tiles.of(event.target);
    const button = event.target.closest("button");
    if (!tile || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (button?.matches(".frame")) this.on.byPart(tile.id);
    else if (button) this.on.mark(tile.id, button.classList.contains("relevant") ? "relevant" : "irrelevant");
    else if (event.target.closest("a")) {
      event.preventDefault();
      this.on.open(tile.id);
    }
  }

  #key(event) {
    const tile = this.tiles.of(event.target);
    if (!tile || event.ctrlKey || event.metaKey || event.altKey) return;
    const { id } = tile;
    const actions = {
      m: () => this.on.like(id),
      p: () => this.on.byPart(id),
      r: () => this.on.mark(id, "relevant"),
      x: () => this.on.mark(id, "irrelevant"),
      s: () => this.on.again(),
      ArrowRight: () => this.focus(this.indexOf(id) + 1),
      ArrowLeft: () => this.focus(this.indexOf(id) - 1),
      ArrowDown: () => this.#beside(id, 1),
      ArrowUp: () => this.#beside(id, -1),
      Home: () => this.focus(0),
      End: () => this.focus(this.n - 1),
    };
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  /** Moves to the picture of the next row in a direction whose middle is nearest. */
  async #beside(id, direction) {
    const index = this.indexOf(id);
    const block = this.#blockOf(index);
    const at = block.rows.findLastIndex((row) => row.first <= index - block.first);
    const middles = (row) => lefts(row).map((left, place) => left + row.widths[place] / 2);
    const middle = middles(block.rows[at])[index - block.first - block.rows[at].first];
    let [other, row] = [block, block.rows[at + direction]];
    if (!row) {
      const edge = direction > 0 ? block.first + block.n : block.first - 1;
      if (!(await this.reach(edge))) return;
      other = this.#blockOf(edge);
      row = other.rows.at(direction > 0 ? 0 : -1);
    }
    const away = middles(row).map((one) => Math.abs(one - middle));
    this.focus(other.first + row.first + away.indexOf(Math.min(...away)));
  }
}
