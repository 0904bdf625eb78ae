// The picture of a view at its stage: as large as it fits, closer by wheel, double click, pinch and keys, moved about,
// and swiped. It is shown at once by the thumbnail that the grid has, and then as sharp as it is looked at.

import { original, thumbnail } from "./api.js";
import { el, shown } from "./dom.js";
import { faceFrame } from "./faces.js";
import { framed } from "./part.js";

const ENLARGED = 1.6; // at most, where all of it is seen
const STEP = 1.4;
const PAN = 80; // pixels for a key
const SIDES = [320, 640, 1280, 2560]; // of thumbnails
const SHOWN_BY_BROWSERS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF"];
const SWIPE = 60; // pixels
const STILL = 6;
const TWICE = 350; // milliseconds, of a double click or tap

const between = (least, value, most) => Math.min(most, Math.max(least, value));

/** Returns a view, which is a zoom and the place of the middle, closer by a factor round a point of the stage. */
export function closer({ zoom, x, y }, factor, [px, py], most) {
  const next = between(1, zoom * factor, most);
  const by = next / zoom;
  return { zoom: next, x: px - (px - x) * by, y: py - (py - y) * by };
}

/** Returns a view moved so that a picture of a size leaves no more of the stage empty than it must. */
export function held({ zoom, x, y }, [width, height], [stageWidth, stageHeight]) {
  const room = (size, space) => Math.max(0, (size * zoom - space) / 2);
  const [across, down] = [room(width, stageWidth), room(height, stageHeight)];
  return { zoom, x: between(-across, x, across) + 0, y: between(-down, y, down) + 0 }; // never -0
}

/** Returns the least side of a thumbnail that has so many pixels, or Infinity for the file itself. */
export function sideFor(pixels, { width, height, format }) {
  const wanted = Math.min(pixels, Math.max(width, height));
  const side = SIDES.find((one) => one >= wanted);
  return side ?? (SHOWN_BY_BROWSERS.includes(format) ? Infinity : SIDES.at(-1));
}

/** One picture in a figure. `on` has step(by), close(), details(), byPart(), person(group) and zoomed(percent). */
export class Stage {
  #view = { zoom: 1, x: 0, y: 0 };
  #pointers = new Map();
  #began = null; // where the first pointer came down
  #side = 0; // of what is shown or on its way
  #tapped = -Infinity; // when

  constructor(figure, picture, on) {
    [this.figure, this.picture, this.on] = [figure, picture, on];
    const near = document.querySelector(`#results li[data-id="${picture.id}"] img`);
    this.image = this.#image(near?.complete && near.naturalWidth ? near.currentSrc : thumbnail(picture.id, SIDES[0]));
    figure.classList.add("stage");
    this.framed = picture.part ? framed(picture, { id: "view-frame" }) : el("div", { class: "framed" });
    this.framed.addEventListener("pointerdown", (event) => event.stopPropagation()); // it would be the figure's
    this.framed.addEventListener("click", ({ target }) => {
      const face = target.closest(".face-frame");
      if (face) on.person(Number(face.dataset.group));
      else on.byPart();
    });
    figure.replaceChildren(this.image, this.framed);
    this.listening = new AbortController();
    for (const [name, listener] of Object.entries({
      wheel: (event) => this.#wheel(event),
      pointerdown: (event) => this.#down(event),
      pointermove: (event) => this.#move(event),
      pointerup: (event) => this.#up(event),
      pointercancel: (event) => this.#up(event, true),
    }))
      figure.addEventListener(name, listener, { signal: this.listening.signal, passive: false });
    this.resized = new ResizeObserver(() => this.#fit());
    this.resized.observe(figure);
  }

  /** Frames these faces and no others; a frame that has the focus keeps it, whoever is in it now. */
  frame(faces) {
    const frames = [...this.framed.querySelectorAll(".face-frame")];
    faces.forEach((face, place) => {
      if (frames[place]) faceFrame(face, frames[place]);
      else this.framed.append(faceFrame(face));
    });
    for (const surplus of frames.slice(faces.length)) surplus.remove();
  }

  /** Leaves the figure to others. */
  end() {
    this.listening.abort();
    this.resized.disconnect();
    this.figure.classList.remove("stage", "close");
  }

  /** Comes closer or goes away by one step: 1, -1, or 0 for all of the picture. */
  zoom(direction) {
    if (direction) this.#closer(STEP ** direction);
    else this.#show({ zoom: 1, x: 0, y: 0 });
  }

  /** Moves what is seen, in steps; returns false if all of it is seen. */
  pan(across, down) {
    if (this.#view.zoom === 1) return false;
    this.#show({ ...this.#view, x: this.#view.x - across * PAN, y: this.#view.y - down * PAN });
    return true;
  }

  get #stage() {
    return [this.figure.clientWidth, this.figure.clientHeight];
  }

  get #fitted() {
    const [width, height] = this.#stage;
    const scale = Math.min(width / this.picture.width, height / this.picture.height, ENLARGED);
    return [this.picture.width * scale, this.picture.height * scale];
  }

  /** How close one can come: until a pixel of the file is two of the screen. */
  get #most() {
    return Math.max(4, (2 * this.picture.width) / this.#fitted[0]);
  }

  #fit() {
    const [width, height] = this.#fitted;
    Object.assign(this.image.style, { width: `${width}px`, height: `${height}px` });
    this.#show(this.#view);
  }

  #closer(factor, point = [0, 0]) {
    this.#show(closer(this.#view, factor, point, this.#most));
  }

  #show(view) {
    this.#view = held(view, this.#fitted, this.#stage);
    const { zoom, x, y } = this.#view;
    this.#place(x, y);
    this.figure.classList.toggle("close", zoom > 1);
    this.on.zoomed(Math.round(((zoom * this.#fitted[0]) / this.picture.width) * 100));
    this.#sharpen(zoom);
  }

  #place(x, y) {
    const { zoom } = this.#view;
    const [width, height] = this.#fitted;
    this.image.style.transform = `translate(${x}px, ${y}px) scale(${zoom})`;
    const transform = `translate(-50%, -50%) translate(${x}px, ${y}px)`; // its lines are as thin as ever
    Object.assign(this.framed.style, { width: `${width * zoom}px`, height: `${height * zoom}px`, transform });
  }

  /** Loads the picture with as many pixels as are seen, and puts it into the place of the one before. */
  #sharpen(zoom) {
    const side = sideFor(Math.max(...this.#fitted) * zoom * window.devicePixelRatio, this.picture);
    if (side <= this.#side || !this.figure.clientWidth) return;
    this.#side = side;
    const address = side === Infinity ? original(this.picture.id) : thumbnail(this.picture.id, side);
    const sharper = this.#image(address);
    sharper.addEventListener("load", () => {
      if (this.#side !== side || !this.image.isConnected) return;
      sharper.style.cssText = this.image.style.cssText;
      this.image.replaceWith(sharper);
      this.image = sharper;
    });
    sharper.addEventListener("error", () => side !== Infinity && this.image.isConnected && this.#fail());
  }

  #image(src) {
    const { name, width, height } = this.picture;
    return el("img", { src, alt: shown(name), width, height, draggable: "false" });
  }

  #fail() {
    this.end();
    const text = "The file is gone, or is not what was indexed any more. Index its folder again.";
    this.figure.replaceChildren(el("p", { class: "state", text }));
  }

  // -- wheel, mouse and fingers -----------------------------------------------------------------------

  /** Returns a point from the middle of the stage. */
  #point({ clientX, clientY }) {
    const { left, top, width, height } = this.figure.getBoundingClientRect();
    return [clientX - left - width / 2, clientY - top - height / 2];
  }

  #wheel(event) {
    event.preventDefault();
    const pixels = event.deltaY * [1, 16, 400][event.deltaMode];
    // A pinch on a touch pad is a wheel with the Ctrl key, in small steps.
    this.#closer(Math.exp(-between(-200, pixels, 200) * (event.ctrlKey ? 0.01 : 0.002)), this.#point(event));
  }

  /** Comes so close that a pixel of the file is one of the screen, or goes back. */
  #double(point) {
    const actual = Math.max(2, this.picture.width / this.#fitted[0]);
    if (this.#view.zoom > 1) this.zoom(0);
    else this.#closer(actual, point);
  }

  #down(event) {
    if (event.button !== 0) return;
    event.preventDefault(); // no selection of text, and no drag of the picture
    this.figure.setPointerCapture(event.pointerId);
    if (!this.#pointers.size) this.#began = { at: this.#point(event), target: event.target, isPinch: false };
    this.#pointers.set(event.pointerId, this.#point(event));
    if (this.#pointers.size > 1) this.#began.isPinch = true;
    this.figure.classList.add("held");
  }

  #move(event) {
    const before = this.#pointers.get(event.pointerId);
    if (!before) return;
    const [was, point] = [[...this.#pointers.values()], this.#point(event)];
    this.#pointers.set(event.pointerId, point);
    if (was.length === 2) this.#pinch(was, [...this.#pointers.values()]);
    else if (this.#view.zoom > 1)
      this.#show({ ...this.#view, x: this.#view.x + point[0] - before[0], y: this.#view.y + point[1] - before[1] });
    else if (event.pointerType !== "mouse" && !this.#began.isPinch) this.#place(point[0] - this.#began.at[0], 0);
  }

  #pinch(before, now) {
    const middle = ([[ax, ay], [bx, by]]) => [(ax + bx) / 2, (ay + by) / 2];
    const apart = ([[ax, ay], [bx, by]]) => Math.hypot(ax - bx, ay - by) || 1;
    const [from, to] = [middle(before), middle(now)];
    const { zoom, x, y } = closer(this.#view, apart(now) / apart(before), from, this.#most);
    this.#show({ zoom, x: x + to[0] - from[0], y: y + to[1] - from[1] });
  }

  // Not every browser of a phone tells of a double click.
  #tap(time, point) {
    const isSecond = time - this.#tapped < TWICE;
    this.#tapped = isSecond ? -Infinity : time;
    if (isSecond) this.#double(point);
  }

  #up(event, isCancelled = false) {
    if (!this.#pointers.delete(event.pointerId) || this.#pointers.size) return;
    this.figure.classList.remove("held");
    const { at, target, isPinch } = this.#began;
    const point = this.#point(event);
    const [across, down] = [point[0] - at[0], point[1] - at[1]];
    if (isCancelled || isPinch) return this.#show(this.#view);
    if (Math.hypot(across, down) < STILL) {
      if (target === this.image) this.#tap(event.timeStamp, point);
      else if (this.#view.zoom === 1) this.on.close();
      return;
    }
    if (this.#view.zoom > 1) return;
    this.#show(this.#view); // back from where a finger took it
    if (event.pointerType === "mouse") return;
    if (Math.abs(across) > SWIPE && Math.abs(across) > 1.5 * Math.abs(down)) this.on.step(across < 0 ? 1 : -1);
    else if (Math.abs(down) > SWIPE && Math.abs(down) > 1.5 * Math.abs(across))
      if (down > 0) this.on.close();
      else this.on.details();
  }
}
