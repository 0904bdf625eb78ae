// Faces in pictures: a small picture of one, what its group is called, and the frame round one in the view.

import { thumbnail } from "./api.js";
import { el, shown } from "./dom.js";

const ROOM = 0.3; // of a face, on each side of it
const LOW = 0.85; // of the height: a name stands above a face that reaches farther down

/** Returns what a group of faces is called. */
export const nameOf = ({ group, name }) => (name ? shown(name) : `Group ${group}`);

/** Returns the part of a picture that shows a face with some room: a square, unless the picture is too small for it. */
export function partAround([left, top, right, bottom], { width, height }) {
  const side = (1 + 2 * ROOM) * Math.max((right - left) * width, (bottom - top) * height);
  const within = (first, last, all) => {
    const length = Math.min(1, side / all);
    const start = Math.min(Math.max(0, (first + last - length) / 2), 1 - length);
    return [start, start + length];
  };
  const [across, down] = [within(left, right, width), within(top, bottom, height)];
  return [across[0], down[0], across[1], down[1]];
}

/** Returns a small picture of a face. */
export function faceImage({ picture, box }) {
  const side = window.devicePixelRatio > 1.5 ? 320 : 160;
  const src = thumbnail(picture.id, side, partAround(box, picture));
  return el("img", { src, alt: "", loading: "lazy", decoding: "async", draggable: "false" });
}

/** Returns a button that frames a face and has its name, for a layer over the picture; one that is there is changed. */
export function faceFrame({ group, name, box: [left, top, right, bottom] }, frame = el("button", { type: "button" })) {
  frame.className = `face-frame${bottom > LOW ? " at-bottom" : ""}`;
  frame.disabled = group === null;
  if (group === null) delete frame.dataset.group;
  else frame.dataset.group = group;
  frame.replaceChildren(el("bdi", { text: name ? shown(name) : "Who is it?" }));
  if (!name && group !== null) frame.append(el("span", { class: "unseen", text: ` Group ${group}` }));
  const edges = { left, top, width: right - left, height: bottom - top };
  for (const [edge, share] of Object.entries(edges)) frame.style[edge] = `${100 * share}%`;
  return frame;
}
