// Loading what the blocks of the grid show: the nearest first, a few at once, and again where something failed.

import { runFrom } from "./blocks.js";

const MOST_ASKED = 3; // times at once
const FAILED = 5_000; // until what could not be loaded is asked for again

/**
 * Asks for the pictures of blocks. `on` has came(run, pictures), with the pictures of each block of a run, failed(problem),
 * and changed(), when others can be asked for.
 */
export class Loading {
  #load = null;
  #nAsked = 0;

  constructor(on) {
    this.on = on;
  }

  /** Takes how the blocks of a list are loaded; what comes for the list before is of no use then. */
  start(load) {
    this.#load = load;
  }

  /** Asks for some of all blocks, in their order, as far as that many may be asked for at once. */
  ask(wanted, blocks) {
    for (const block of wanted) {
      if (this.#nAsked >= MOST_ASKED) return;
      if (!block.asked) this.fill(runFrom(blocks, blocks.indexOf(block)));
    }
  }

  /** Loads blocks that follow one another. */
  fill(run) {
    const asked = run.find((block) => block.asked)?.asked ?? this.#filled(run);
    for (const block of run) block.asked ??= asked;
    return asked;
  }

  /** Takes what failed for something that was not asked for yet. */
  retry(blocks) {
    for (const block of blocks) block.isFailed = false;
    this.on.changed();
  }

  async #filled(run) {
    const load = this.#load;
    this.#nAsked += 1;
    try {
      const pictures = await load(run);
      if (load === this.#load) this.on.came(run, pictures);
    } catch (problem) {
      for (const block of run) block.isFailed = true;
      setTimeout(() => this.retry(run), FAILED);
      if (problem.name !== "AbortError") this.on.failed(problem);
    } finally {
      this.#nAsked -= 1;
      for (const block of run) block.asked = null;
      this.on.changed();
    }
  }
}

/** Returns whether a block is to be asked for. */
export const isWanting = (block) => (!block.pictures || block.isStale) && !block.asked && !block.isFailed;
