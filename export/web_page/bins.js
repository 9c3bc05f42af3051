/** How classes and bins are drawn: a color with enough contrast to white, and an icon of 24 x 24. */

// A Map, because a class may be called like a property that every object has, for example "constructor".
const KNOWN = new Map(Object.entries({
  glass: ["#0f6f68", '<path d="M10 2.5h4v5c0 1.6 3 2.6 3 6v6.5a1.5 1.5 0 0 1-1.5 1.5h-7A1.5 1.5 0 0 1 7 20v-6.5c0-3.4 3-4.4 3-6z"/><path d="M7 14h10"/>'],
  paper: ["#2450b8", '<path d="M6 2.5h8.5L19 7v14.5H6z"/><path d="M14 2.5V7.5h5M9 12h7M9 15.5h7"/>'],
  cardboard: ["#85501a", '<path d="m12 2.5 8.5 4.5v10L12 21.5 3.5 17V7z"/><path d="m3.5 7 8.5 4.5L20.5 7M12 11.5v10M7.8 4.8l8.5 4.5v3.5"/>'],
  plastic: ["#b4431b", '<path d="M10 2.5h4V6l2.5 3v11a1.5 1.5 0 0 1-1.5 1.5H9A1.5 1.5 0 0 1 7.5 20V9L10 6z"/><path d="M9.5 5h5M7.5 11.5h9M7.5 16h9"/>'],
  metal: ["#475668", '<path d="M7 5.5v13c0 1.4 2.2 2.5 5 2.5s5-1.1 5-2.5v-13"/><ellipse cx="12" cy="5.5" rx="5" ry="2.5"/><path d="M11 5.5h2"/>'],
  trash: ["#57504b", '<path d="M5 7h14l-1.2 13a1.5 1.5 0 0 1-1.5 1.5H7.7A1.5 1.5 0 0 1 6.2 20z"/><path d="M3.5 7h17M9 7l.5-3.5h5L15 7M10 11v6.5M14 11v6.5"/>'],
}));
const COLORS = ["#0b6b4f", "#2450b8", "#b4431b", "#6b3fa0", "#85501a", "#9c2c5a", "#475668", "#4d6414"];
const BIN = '<path d="M5.5 9h13l-1.2 11a1.5 1.5 0 0 1-1.5 1.5H8.2A1.5 1.5 0 0 1 6.7 20z"/><path d="M4 8.5 20 4.5M9.5 6.5 13 5.6"/>';

/** `{color, drawing}` of the class `label`, whose index is `index`. */
export function bin(label, index) {
  const [color, paths] = KNOWN.get(label) ?? [COLORS[index % COLORS.length], BIN];
  return {color, drawing: drawing(paths)};
}

/** `{color, drawing}` of the bin of a place whose index is `index`, with the color of its rules. */
export function container(color, index) {
  return {color: color ? readable(color) : COLORS[index % COLORS.length], drawing: drawing(BIN)};
}

function drawing(paths) {
  return `<svg viewBox="0 0 24 24" aria-hidden="true">${paths}</svg>`;
}

/** `#rrggbb`, darkened until white text on it is readable: a contrast of 4.5, WCAG 2.2 level AA. */
export function readable(color) {
  let parts = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  while (1.05 / (luminance(parts) + 0.05) < 4.5) parts = parts.map((part) => Math.floor(0.97 * part));
  return `#${parts.map((part) => part.toString(16).padStart(2, "0")).join("")}`;
}

function luminance(parts) {
  const linear = parts.map((part) => part / 255).map((p) => (p <= 0.04045 ? p / 12.92 : ((p + 0.055) / 1.055) ** 2.4));
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
}
