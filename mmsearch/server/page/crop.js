// The part of an example that is meant: drawn on the picture, or given in numbers.

import { button, byId, el, openDialog } from "./dom.js";

const EDGES = ["Left", "Top", "Right", "Bottom"];
const SMALLEST = 0.02;
const MOST_ZOOM = 2; // of small pictures

/** Asks for a part of a picture; returns a box in its pixels, null for all, or undefined if nothing was chosen. */
export function askPart(subject) {
  const dialog = byId("crop");
  return new Promise((resolve) => {
    let answer;
    const answered = (value) => {
      answer = value;
      dialog.close();
    };
    const area = new Area(subject);
    dialog.replaceChildren(
      el("h2", { id: "crop-title", text: "Which part is meant?" }),
      el("p", { class: "note", text: "Draw a frame on the picture, or give its edges in percent." }),
      area.stage,
      area.numbers,
      el(
        "div",
        { class: "dialog-actions" },
        button("Use this part", {
          class: "primary",
          id: "crop-use",
          autofocus: true,
          onClick: () => answered(area.box()),
        }),
        button("Whole picture", { id: "crop-whole", onClick: () => answered(null) }),
        button("Cancel", { class: "quiet", onClick: () => dialog.close() }),
      ),
    );
    dialog.addEventListener("close", () => resolve(answer), { once: true });
    openDialog(dialog);
  });
}

/** A picture with a frame on it; edges are shares of its width and height. */
class Area {
  constructor({ href, width, height, box, name }) {
    [this.width, this.height] = [width, height];
    this.edges = box ? [box[0] / width, box[1] / height, box[2] / width, box[3] / height] : [0, 0, 1, 1];
    this.frame = el(
      "div",
      { class: "crop-frame" },
      ...["nw", "ne", "sw", "se"].map((corner) => el("i", { class: corner })),
    );
    const image = el("img", { src: href, alt: name, width, height, draggable: "false" });
    this.stage = el("div", { class: "crop-stage" }, image, this.frame);
    this.stage.style.width = `min(100%, ${width * MOST_ZOOM}px, max(160px, 100dvh - 340px) * ${width / height})`;
    this.inputs = EDGES.map((edge, place) =>
      el("input", {
        type: "number",
        min: 0,
        max: 100,
        step: 1,
        inputmode: "numeric",
        on: { change: (event) => this.#typed(place, event.target.value) },
      }),
    );
    this.numbers = el(
      "div",
      { class: "crop-numbers" },
      ...EDGES.map((edge, place) => el("label", {}, edge, this.inputs[place])),
    );
    this.stage.addEventListener("pointerdown", (event) => this.#begin(event));
    this.#show();
  }

  /** Returns the box in whole pixels, or null if it is the whole picture. */
  box() {
    const [left, top, right, bottom] = this.edges;
    if (left <= 0 && top <= 0 && right >= 1 && bottom >= 1) return null;
    const pixels = [left * this.width, top * this.height, right * this.width, bottom * this.height].map(Math.round);
    return [pixels[0], pixels[1], Math.max(pixels[2], pixels[0] + 1), Math.max(pixels[3], pixels[1] + 1)];
  }

  #begin(event) {
    event.preventDefault();
    this.stage.setPointerCapture(event.pointerId);
    const start = this.#at(event);
    const before = [...this.edges];
    const isWhole = before.every((edge, place) => edge === (place < 2 ? 0 : 1));
    const held = isWhole ? null : this.#held(start, before);
    const move = (moved) => this.#set(dragged(before, start, this.#at(moved), held));
    const end = () => {
      this.stage.removeEventListener("pointermove", move);
      if (this.edges[2] - this.edges[0] < SMALLEST || this.edges[3] - this.edges[1] < SMALLEST) this.#set(before);
    };
    this.stage.addEventListener("pointermove", move);
    this.stage.addEventListener("lostpointercapture", end, { once: true });
  }

  #at(event) {
    const { left, top, width, height } = this.stage.getBoundingClientRect();
    return [clamped((event.clientX - left) / width), clamped((event.clientY - top) / height)];
  }

  /** Returns which edges a pointer holds: those of a corner, all from within, or null to draw a new frame. */
  #held([x, y], [left, top, right, bottom]) {
    const { width, height } = this.stage.getBoundingClientRect();
    const near = (a, b, length) => Math.abs(a - b) * length < 18;
    const across = near(x, left, width) ? 0 : near(x, right, width) ? 2 : null;
    const down = near(y, top, height) ? 1 : near(y, bottom, height) ? 3 : null;
    if (across !== null && down !== null) return [across, down];
    return x > left && x < right && y > top && y < bottom ? "all" : null;
  }

  #typed(place, value) {
    const edges = [...this.edges];
    edges[place] = clamped(Number(value) / 100 || 0);
    const opposite = (place + 2) % 4;
    if (place < 2) edges[place] = Math.min(edges[place], edges[opposite] - SMALLEST);
    else edges[place] = Math.max(edges[place], edges[opposite] + SMALLEST);
    this.#set(edges);
  }

  #set(edges) {
    this.edges = edges.map(clamped);
    this.#show();
  }

  #show() {
    const [left, top, right, bottom] = this.edges;
    Object.assign(this.frame.style, {
      left: `${left * 100}%`,
      top: `${top * 100}%`,
      width: `${(right - left) * 100}%`,
      height: `${(bottom - top) * 100}%`,
    });
    this.inputs.forEach((input, place) => (input.value = Math.round(this.edges[place] * 100)));
  }
}

const clamped = (share) => Math.min(1, Math.max(0, share));

/** Returns the edges after a pointer went from one place to another. */
export function dragged(before, [x0, y0], [x, y], held) {
  if (held === null) return [Math.min(x0, x), Math.min(y0, y), Math.max(x0, x), Math.max(y0, y)];
  if (held === "all") {
    const dx = Math.min(Math.max(x - x0, -before[0]), 1 - before[2]);
    const dy = Math.min(Math.max(y - y0, -before[1]), 1 - before[3]);
    return [before[0] + dx, before[1] + dy, before[2] + dx, before[3] + dy];
  }
  const edges = [...before];
  [edges[held[0]], edges[held[1]]] = [x, y];
  const [left, top, right, bottom] = edges;
  return [Math.min(left, right), Math.min(top, bottom), Math.max(left, right), Math.max(top, bottom)];
}
