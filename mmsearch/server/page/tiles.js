// The tiles that are in the document: those of the rows that are near to what is seen.

import { Groups } from "./groups.js";
import { lefts } from "./layout.js";
import { Tile } from "./tile.js";

const MOST_TILES = 420;
const NEW_THUMBNAILS = 5; // in one frame

/** Tiles below one element. `on` has isChosen(id) and addressOf(id). */
export class Tiles {
  active; // the id of the picture that the Tab key reaches
  marks = new Map();
  #tiles = new Map();

  constructor(list, on) {
    [this.on, this.groups] = [on, new Groups(list)];
  }

  get = (id) => this.#tiles.get(id);
  of = (element) => this.get(Number(element?.closest?.("#results li[data-id]")?.dataset.id));

  /** Returns the tile that has the focus. */
  get held() {
    return this.of(document.activeElement);
  }

  /** Shows which pictures are marked. */
  showMarks(marks) {
    this.marks = marks;
    for (const tile of this.#tiles.values()) tile.mark(marks.get(tile.id));
  }

  /** Shows which pictures are chosen. */
  showChosen() {
    for (const tile of this.#tiles.values()) tile.choose(this.on.isChosen(tile.id));
  }

  /** Asks again for the thumbnails that did not come. */
  retry() {
    for (const tile of this.#tiles.values()) tile.again();
  }

  /** Lets the Tab key reach one picture, and no other. */
  activate(tile) {
    const before = this.get(this.active);
    if (before) before.isActive = false;
    if (tile) tile.isActive = true;
    this.active = tile?.id;
  }

  /**
   * Shows rows, the nearest first, of blocks, and nothing else; returns whether all of it is there. At most so many
   * tiles are made, or finished where the list is at rest; none that passes by too fast to be seen.
   */
  stand(rows, blocks, { y, most, isFast, isAtRest }) {
    const wanted = new Map();
    let left = isFast ? 0 : most;
    let isWhole = true;
    for (const one of rows) {
      if (wanted.size + one.row.widths.length > MOST_TILES && one.away) continue;
      lefts(one.row).forEach((x, nth) => {
        const place = one.row.first + nth;
        const picture = one.block.pictures[place];
        if (!this.#tiles.has(picture.id) && left-- <= 0) isWhole = isFast;
        else if (!wanted.has(picture.id)) wanted.set(picture.id, { ...one, place, x, picture });
      });
    }
    this.#leave(wanted);
    this.groups.stand(withBlocksOf(wanted, blocks));
    const inOrder = [...wanted.values()].sort((a, b) => a.block.first + a.place - b.block.first - b.place);
    for (const one of inOrder) this.#standTile(one);
    const inSight = inOrder.find((one) => one.y + one.row.height / 2 > y) ?? inOrder[0];
    if (!this.held && inSight && !this.get(this.active)) this.activate(this.get(inSight.picture.id));
    return isFast || (this.#load(wanted) && isWhole && (!isAtRest || this.#finish(wanted, most)));
  }

  #leave(wanted) {
    for (const [id, tile] of this.#tiles) {
      if (wanted.has(id) || tile.element.contains(document.activeElement)) continue;
      tile.remove();
      this.#tiles.delete(id);
    }
  }

  #load(wanted) {
    let nAsked = 0;
    for (const id of wanted.keys()) if (nAsked < NEW_THUMBNAILS) nAsked += this.get(id).load();
    return nAsked < NEW_THUMBNAILS;
  }

  #finish(wanted, most) {
    let n = 0;
    for (const id of wanted.keys()) if (n < most) n += this.get(id).finish();
    return n < most;
  }

  #standTile({ block, place, x, y, row, picture }) {
    let tile = this.get(picture.id);
    if (!tile) {
      tile = new Tile(picture.id);
      this.#tiles.set(picture.id, tile);
      tile.mark(this.marks.get(picture.id));
      tile.choose(this.on.isChosen(picture.id));
    }
    tile.show(picture, this.on.addressOf(picture.id), block.offset + place, block.isOpen ? -1 : block.nAll);
    tile.stand(x, y, row.widths[place - row.first], row.height);
    this.groups.add(block, tile.element);
  }
}

/** Returns blocks, and those that others of the wanted pictures are in, in their order. */
function withBlocksOf(wanted, blocks) {
  const all = new Set([...blocks, ...[...wanted.values()].map(({ block }) => block)]);
  return [...all].sort((a, b) => a.first - b.first);
}
