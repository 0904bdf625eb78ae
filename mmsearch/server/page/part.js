// The part of a picture by which it was found: where it is in words and in pixels, and a frame that searches by it.

import { el, iconButton } from "./dom.js";

const CENTRED = 0.01; // of a side: margins that differ by less are alike

/** Returns where a part is, in words. */
export function placeOf([left, top, right, bottom]) {
  const nearer = (before, after, [first, last]) =>
    Math.abs(before - after) < CENTRED ? "" : before < after ? first : last;
  const words = [nearer(top, 1 - bottom, ["top", "bottom"]), nearer(left, 1 - right, ["left", "right"])];
  return words.filter(Boolean).join(" ") || "middle";
}

/** Returns the part of a picture in pixels of it, as a query takes them. */
export const boxOf = ({ part, width, height }) =>
  part.box.map((share, edge) => Math.round(share * (edge % 2 ? height : width)));

/**
 * Returns what lies over a picture and is cut as it is: a frame round its part, a button. Its sign keeps away from the
 * middle of the picture, where people click, and from its corners, where others stand.
 */
export function framed({ part, width, height }, attributes = {}) {
  const [left, top, right, bottom] = part.box;
  const sides = `${left < 1 - right ? " at-left" : ""}${1 - bottom < top ? " at-top" : ""}`;
  const words = `Search by this part: ${placeOf(part.box)}`;
  const frame = iconButton(words, "search", null, { ...attributes, class: `frame${sides}` });
  const edges = { left, top, right, bottom, ratio: width / height };
  for (const [name, value] of Object.entries(edges)) frame.style.setProperty(`--${name}`, value);
  return el("div", { class: "framed" }, frame);
}
