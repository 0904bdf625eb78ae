// What is known of the picture that is viewed: its labels, and what its file says of it.

import { filmOf, givenLabels, photoFacts } from "./api.js";
import { bytes, el, shown } from "./dom.js";
import { filmed } from "./film.js";

const WHEN = new Intl.DateTimeFormat("en-GB", { dateStyle: "long", timeStyle: "short", timeZone: "UTC" });

/** Returns the labels that the library gave a picture, which come a moment later for a hit. */
export function labels(hit) {
  const list = el("ul", { class: "given-labels" });
  const section = el("section", { hidden: true }, el("h3", { text: "Labels" }), list);
  const asked = hit.labels ? Promise.resolve(hit.labels) : givenLabels(hit.id);
  asked
    .then((given) => {
      section.hidden = !given.length;
      list.replaceChildren(
        ...given.map(({ label_set: set, label, probability }) =>
          el(
            "li",
            { title: `given by the label set ${set}` },
            el("bdi", { text: shown(label) }),
            el("span", { class: "count", text: `${Math.round(100 * probability)} %` }),
          ),
        ),
      );
    })
    .catch(() => {}); // it left meanwhile
  return section;
}

/** Returns what is known of the picture, and a moment later what its file says of the photograph. */
export function facts(hit) {
  const list = el("dl", { class: "facts" });
  const add = (rows) =>
    list.append(
      ...Object.entries(rows).flatMap(([name, value]) => [
        el("dt", { text: name }),
        el("dd", {}, el("bdi", { text: value })),
      ]),
    );
  add({
    Size: `${hit.width} × ${hit.height}, ${bytes(hit.size_bytes)}, ${hit.format}`,
    Taken: inWords(hit.taken_at),
    Path: shown(hit.path),
  });
  const said = hit.film ? filmOf(hit.id).then(filmed) : photoFacts(hit.id).then(photographed);
  said.then(add, () => {}); // the picture itself says what is wrong
  return el("section", {}, el("h3", { text: hit.film ? "The film" : "The picture" }), list);
}

/** Returns when a picture was taken, by the clock of its camera. */
function inWords(taken) {
  if (!taken) return "not known";
  return taken.includes("T") ? WHEN.format(new Date(`${taken}Z`)) : taken; // it may be a year alone
}

/** Returns what a file says of its photograph, in words. */
export function photographed(said) {
  const exposure = [
    said.exposure_s && `${exposed(said.exposure_s)} s`,
    said.f_number && `f/${Number(said.f_number.toFixed(1))}`,
    said.iso && `ISO ${said.iso}`,
  ].filter(Boolean);
  const angle = (degrees, [positive, negative]) =>
    `${Math.abs(degrees).toFixed(5)}° ${degrees < 0 ? negative : positive}`;
  return {
    ...(said.camera && { Camera: shown(said.camera) }),
    ...(said.lens && { Lens: shown(said.lens) }),
    ...(exposure.length && { Exposure: exposure.join(", ") }),
    ...(said.focal_length_mm && { "Focal length": `${Number(said.focal_length_mm.toFixed(1))} mm` }),
    ...(said.latitude !== undefined && { Place: `${angle(said.latitude, "NS")}, ${angle(said.longitude, "EW")}` }),
  };
}

/** Returns seconds as photographers write them. */
const exposed = (seconds) => (seconds < 0.4 ? `1/${Math.round(1 / seconds)}` : String(Number(seconds.toFixed(1))));
