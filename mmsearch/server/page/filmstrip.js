// The pictures before and after the one that is viewed, in a strip below it; the one that is viewed stays in the middle.

import { thumbnail } from "./api.js";
import { el, shown } from "./dom.js";

const WIDTH = 62; // pixels of a picture, with the gap

/** A strip in an element of its own. `on` has pictureAt(index), undefined where it is not loaded, and step(by). */
export class Filmstrip {
  #buttons = new Map();

  constructor(on) {
    this.on = on;
    this.element = el("ul", { class: "filmstrip", role: "list", "aria-label": "Pictures before and after" });
  }

  /** Shows what is round a place among n pictures. */
  show(place, n) {
    this.element.hidden = place < 0 || n < 2;
    if (this.element.hidden) return;
    const beside = Math.ceil(window.innerWidth / 2 / WIDTH);
    const places = Array.from({ length: 2 * beside + 1 }, (_, nth) => place - beside + nth);
    const buttons = new Map();
    const items = places.map((at) => {
      const picture = at >= 0 && at < n ? this.on.pictureAt(at) : undefined;
      if (!picture) return el("li", { "aria-hidden": "true" });
      const button = this.#buttons.get(picture.id) ?? this.#button(picture);
      button.by = at - place;
      if (at === place) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
      buttons.set(picture.id, button);
      return el("li", {}, button);
    });
    this.#buttons = buttons;
    this.element.replaceChildren(...items);
  }

  /** Returns a button that is passed over by the Tab key: the arrow keys do what it does. */
  #button(picture) {
    const image = el("img", { src: thumbnail(picture.id, 320), alt: "", draggable: "false" });
    image.addEventListener("error", () => image.remove());
    const attributes = { type: "button", tabindex: "-1", "aria-label": shown(picture.name), title: shown(picture.name) };
    const button = el("button", attributes, image);
    button.addEventListener("click", () => button.by && this.on.step(button.by));
    return button;
  }
}
