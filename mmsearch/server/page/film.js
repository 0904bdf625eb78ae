// A film in the view: it plays from a moment, with its other moments in a strip below. Where the browser cannot play it,
// the picture of the moment stays.

import { hasFile, moments, original, thumbnail } from "./api.js";
import { button, el, icon, shown } from "./dom.js";

const GONE = "The file is gone, or is not what was indexed any more. Index its folder again.";

/** Returns a time in a film as players show it. */
export function clock(seconds) {
  const whole = Math.floor(seconds + 1e-6);
  const two = (number) => String(number).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

/** Returns what a tile says of its film: when the moment is by which it was found, and how long the film is. */
export const timesOf = ({ at, seconds, others }) =>
  [others && clock(at), seconds !== null && clock(seconds)].filter(Boolean).join(" / ");

/** Returns the same in words. */
export function timesInWords({ at, seconds, others }) {
  const moment = others ? ` at ${clock(at)}` : "";
  return `film${moment}${seconds === null ? "" : `${others ? " of" : " of length"} ${clock(seconds)}`}`;
}

/** The film of a picture in a figure, in the place of a `Stage`, and its moments in `strip`. */
export class FilmStage {
  #moment; // the one that is shown, or was shown last while the film plays
  #listening = new AbortController();

  constructor(figure, picture) {
    [this.figure, this.picture] = [figure, picture];
    this.#moment = { id: picture.id, at: picture.film.at };
    this.strip = new Moments(picture, (moment) => this.#jump(moment));
    this.video = el("video", {
      controls: true,
      preload: "metadata",
      playsinline: true,
      poster: thumbnail(picture.id, 1280),
      "aria-label": `The film ${shown(picture.name)}`,
      src: `${original(picture.id)}#t=${picture.film.at}`,
    });
    const { signal } = this.#listening;
    this.video.addEventListener("error", () => this.#fail(), { signal });
    this.video.addEventListener("loadedmetadata", () => this.video.videoWidth || this.#fail(), { signal }); // sound alone
    this.video.addEventListener("timeupdate", () => this.#follow(), { signal });
    figure.classList.add("film-stage");
    figure.replaceChildren(this.video);
    this.strip.mark(this.#moment.id);
  }

  /** The id of the moment that is shown. */
  get id() {
    return this.#moment.id;
  }

  /** Lets the film play, or pause; does nothing where it cannot be played. */
  toggle() {
    if (!this.video.isConnected) return;
    if (this.video.paused) this.video.play().catch(() => {}); // the error itself is listened to
    else this.video.pause();
  }

  /** Ends the film and what is on its way of it, and leaves the figure to others. */
  end() {
    this.#listening.abort();
    this.video.pause();
    this.video.removeAttribute("src");
    this.video.load();
    this.figure.classList.remove("film-stage");
  }

  frame() {} // faces are framed in pictures alone
  zoom() {}
  pan() {}

  #jump(moment) {
    this.#moment = moment;
    this.strip.mark(moment.id);
    this.video.poster = thumbnail(moment.id, 1280);
    this.video.currentTime = moment.at;
    this.figure.querySelector("img")?.setAttribute("src", this.video.poster);
  }

  #follow() {
    const moment = this.strip.at(this.video.currentTime);
    if (!moment || this.video.paused) return;
    this.#moment = moment;
    this.strip.mark(moment.id);
  }

  async #fail() {
    const { name, format, id } = this.picture;
    this.video.pause();
    const isThere = await hasFile(id);
    if (this.#listening.signal.aborted) return;
    const text = `This browser cannot play this film (${format}). Download it, or open it in a player.`;
    const still = el("img", { src: thumbnail(this.id, 1280), alt: `A moment of ${shown(name)}`, draggable: "false" });
    still.addEventListener("error", () => still.remove());
    this.figure.replaceChildren(still, el("p", { class: "note", role: "status", text: isThere ? text : GONE }));
  }
}

/** The moments of a film by time: of a hit those that were found, and all where they are asked for. */
class Moments {
  #all = [];
  #marked = null;

  constructor(picture, choose) {
    [this.picture, this.choose] = [picture, choose];
    const { film } = picture;
    this.list = el("ul", { class: "moments", role: "list", "aria-label": "Moments of the film" });
    this.more = button("", { class: "quiet", id: "view-moments", onClick: () => this.#load() });
    this.element = el("div", { class: "film-strip" }, this.list, this.more);
    if (film.others) this.#show([{ id: picture.id, at: film.at }, ...film.others]);
    else this.#load();
  }

  /** Returns the moment that a time belongs to: the last one that is not after it. */
  at = (seconds) => this.#all.findLast(({ at }) => at <= seconds + 0.05);

  /** Marks the moment that is shown. */
  mark(id) {
    this.#marked = id;
    for (const one of this.list.querySelectorAll("button")) {
      if (Number(one.dataset.id) !== id) one.removeAttribute("aria-current");
      else if (!one.hasAttribute("aria-current")) {
        one.setAttribute("aria-current", "true");
        const middle = one.offsetLeft - (this.list.clientWidth - one.offsetWidth) / 2;
        this.list.scrollLeft = middle; // and nothing else moves
      }
    }
  }

  async #load() {
    this.more.disabled = true;
    const page = await moments(this.picture.id, this.next).catch(() => null); // which can be asked for again
    this.more.disabled = false;
    if (!page) return;
    this.#show(this.next ? [...this.#all, ...page.moments] : page.moments, page);
  }

  #show(all, page) {
    this.next = page?.next;
    this.#all = all.toSorted((one, other) => one.at - other.at);
    this.list.replaceChildren(...this.#all.map((moment) => this.#item(moment)));
    const n = page?.n ?? this.picture.film.n_frames;
    this.element.hidden = n < 2;
    this.more.hidden = this.#all.length >= n;
    this.more.textContent = page ? `More of ${n.toLocaleString("en")} moments` : `All ${n.toLocaleString("en")} moments`;
    this.mark(this.#marked);
  }

  #item(moment) {
    const time = clock(moment.at);
    const image = el("img", { src: thumbnail(moment.id, 160), alt: "", loading: "lazy", draggable: "false" });
    image.addEventListener("error", () => image.remove());
    const attributes = { type: "button", "data-id": moment.id, "aria-label": `Moment at ${time}` };
    const one = el("button", attributes, image, el("span", { text: time }));
    one.addEventListener("click", () => this.choose(moment));
    return el("li", {}, one);
  }
}

/** Returns what is known of a film, in words. */
export function filmed({ seconds, at, start, end, n_frames: n, hdr, problem }) {
  return {
    Length: seconds === null ? "not known" : clock(seconds),
    Moment: end > start ? `${clock(at)}, from ${clock(start)} to ${clock(end)}` : clock(at),
    Moments: n.toLocaleString("en"),
    ...(hdr && { Colours: "of HDR, shown as they are" }),
    ...(problem && { Problem: shown(problem) }),
  };
}

/** Returns the sign of a film with its times, for a tile. */
export const FILM_BADGE = el("span", { class: "badge film" }, icon("film"), el("span", {}));
