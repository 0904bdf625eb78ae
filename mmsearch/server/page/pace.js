// How fast one scrolls.

const SPAN = 150; // milliseconds that are looked back: one notch of a wheel is not fast

/** The pace of something that moves. */
export class Pace {
  #steps = []; // the first is as old as the span, or the first of all

  /** Takes where it is now, and returns how many pixels a second it moved lately. */
  at(y, now = performance.now()) {
    this.#steps.push({ y, now });
    while (this.#steps.length > 1 && now - this.#steps[1].now >= SPAN) this.#steps.shift();
    const [first] = this.#steps;
    return (1000 * Math.abs(y - first.y)) / Math.max(SPAN, now - first.now);
  }

  /** Forgets how it came to where it is. */
  rest() {
    this.#steps = [];
  }
}
