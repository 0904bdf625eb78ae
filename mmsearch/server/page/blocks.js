// Sections of the grid in blocks, which are what is loaded at a time.

const CHUNK = 100; // pictures of a block at most
const RUN = 200; // pictures of blocks that are loaded together

/** Returns the blocks of a section; those of the same list as before have what was loaded, until it is loaded anew. */
export function blocksOf({ key, title = null, isWeak = false, isOpen = false, n, pictures = null }, kept) {
  const size = pictures ? n : CHUNK;
  let begin = null;
  return Array.from({ length: Math.ceil(n / size) }, (_, place) => {
    const offset = place * size;
    const block = { key, title, isWeak, isOpen, offset, n: Math.min(size, n - offset), nAll: n, laidAt: 0 };
    block.begin = begin ??= block;
    const before = pictures ? null : kept.get(`${key} ${offset}`);
    const held = pictures ?? before?.pictures?.slice(0, block.n) ?? null;
    const isLast = offset + block.n === n;
    return Object.assign(block, { pictures: held, isStale: Boolean(before?.pictures), isLast, isFailed: false });
  });
}

/** Returns the blocks from one on that are loaded with it: whole sections, if they are small. */
export function runFrom(blocks, begin) {
  const isWhole = (block) => block.n === block.nAll;
  const run = [blocks[begin]];
  for (const block of blocks.slice(begin + 1)) {
    const n = run.reduce((sum, one) => sum + one.n, block.n);
    if (!isWhole(run[0]) || !isWhole(block) || n > RUN || (block.pictures && !block.isStale) || block.asked) break;
    run.push(block);
  }
  return run;
}

/** Returns the block that holds a place of `place()`, by its picture or by its number, and which of its pictures. */
export function found(blocks, place) {
  if (!place) return null;
  for (const block of blocks) {
    const at = block.pictures?.findIndex((picture) => picture.id === place.id) ?? -1;
    if (at >= 0) return { block, place: at };
  }
  const section = blocks.filter((block) => block.key === place.key);
  const block = section.find((one) => place.index < one.offset + one.n) ?? section.at(-1);
  return block && { block, place: Math.min(place.index - block.offset, block.n - 1) };
}
