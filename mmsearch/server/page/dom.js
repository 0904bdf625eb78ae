// Elements made from descriptions. Whatever comes from files or from the server is set as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

/** Returns the element of the page with this id. */
export const byId = (id) => document.getElementById(id);

/** Returns an element; `on` holds listeners, `text` its text, everything else is an attribute (false: left out). */
export function el(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** Returns an element of SVG. */
export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, { on = {}, text, ...attributes }, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value !== null && value !== undefined)
      element.setAttribute(name, value === true ? "" : value);
  }
  for (const [name, listener] of Object.entries(on)) element.addEventListener(name, listener);
  if (text !== undefined) element.textContent = text;
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Returns an icon of the page. */
export const icon = (name) =>
  svg("svg", { class: "icon", "aria-hidden": "true" }, svg("use", { href: `#i-${name}` }));

/** Returns a button with an icon and words. */
export function button(words, { sign, onClick, ...attributes } = {}) {
  const listeners = onClick ? { click: onClick } : {};
  return el("button", { type: "button", on: listeners, ...attributes }, sign && icon(sign), words);
}

/** Returns a button with an icon alone. */
export function iconButton(label, sign, onClick, attributes = {}) {
  const classes = `icon-only ${attributes.class ?? ""}`.trim();
  return el(
    "button",
    { type: "button", "aria-label": label, title: label, on: onClick ? { click: onClick } : {}, ...attributes, class: classes },
    icon(sign),
  );
}

const ODD = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/** Returns a name as it may be shown: characters that hide or turn others become visible. */
export const shown = (name) =>
  name.replace(ODD, (character) => `\\u${character.codePointAt(0).toString(16).padStart(4, "0")}`);

/** Returns the nodes of a sentence in which `commands` stand between backticks. */
export const prose = (text) =>
  text.split("`").map((part, place) => (place % 2 ? el("code", { text: part }) : part));

/** Returns a number with its noun. */
export const counted = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

/** Returns a size of a file in words. */
export function bytes(n) {
  if (n < 1e3) return `${n} bytes`;
  const [size, unit] = n < 1e6 ? [n / 1e3, "kB"] : n < 1e9 ? [n / 1e6, "MB"] : [n / 1e9, "GB"];
  return `${size < 10 ? size.toFixed(1) : Math.round(size)} ${unit}`;
}

/** Returns a button that opens what is in a menu; Escape and a click beside it close it. */
export function menu(words, id, ...content) {
  const opener = el("summary", { class: "button", id, text: words });
  const opened = el("details", { class: "menu" }, opener, el("div", {}, ...content));
  opened.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !opened.open) return;
    event.stopPropagation();
    opened.open = false;
    opener.focus();
  });
  document.addEventListener("click", ({ target }) => !opened.contains(target) && (opened.open = false));
  return opened;
}

/** Returns a function that calls another once, some time after the last call; `.now()` does not wait. */
export function paused(action, milliseconds) {
  let timer;
  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(action, milliseconds);
  };
  later.now = () => {
    clearTimeout(timer);
    action();
  };
  later.cancel = () => clearTimeout(timer);
  return later;
}

/** Opens a dialog as a modal one; a click beside it closes it. */
export function openDialog(dialog) {
  if (!dialog.dataset.ready) {
    dialog.dataset.ready = "yes";
    dialog.addEventListener("pointerdown", ({ target, clientX: x, clientY: y }) => {
      const { left, right, top, bottom } = dialog.getBoundingClientRect();
      if (target === dialog && (x < left || x > right || y < top || y > bottom)) dialog.close();
    });
  }
  if (!dialog.open) dialog.showModal();
}
