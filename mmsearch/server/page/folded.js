// The pictures that a hit stands for: how many, as a badge, and which, as links.

import { el, shown } from "./dom.js";

const KINDS = {
  "same-file": ["n_same_file", "Copies of the file"],
  "same-picture": ["n_same_picture", "The same picture in other forms"],
  "look-alike": ["n_look_alike", "Pictures that look alike"],
};

/** Returns how many pictures a hit stands for, in words; of copies it is one itself. */
export function standsFor({ folded }) {
  if (!folded) return "";
  const n = folded.n_same_file + folded.n_same_picture;
  const copies = n && `${(n + 1).toLocaleString("en")} copies`;
  const similar = folded.n_look_alike && `${folded.n_look_alike.toLocaleString("en")} similar`;
  return [copies, similar].filter(Boolean).join(", ");
}

/** Returns the section that names them; `on` has addressOf(id) and open(id). */
export function foldedPictures({ folded }, on) {
  const lists = Object.entries(KINDS).flatMap(([kind, [count, title]]) => {
    const pictures = folded.pictures.filter((one) => one.kind === kind);
    const more = folded[count] - pictures.length;
    if (!folded[count]) return [];
    return [
      el("h3", { text: title }),
      el(
        "ul",
        { class: "folded-pictures" },
        ...pictures.map((one) => el("li", {}, link(one, on))),
        more > 0 && el("li", { class: "note", text: `and ${more.toLocaleString("en")} more` }),
      ),
    ];
  });
  return el("section", { id: "view-folded" }, ...lists);
}

function link({ id, path }, on) {
  const open = (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return; // in a tab of its own
    event.preventDefault();
    on.open(id);
  };
  return el("a", { href: on.addressOf(id), on: { click: open } }, el("bdi", { text: shown(path) }));
}
