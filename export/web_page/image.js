/** Prepares an image as in training: upright, square, resampled as TensorFlow does. */

/** The pixels of an image file, rotated according to its Exif data, on white where it is transparent. */
export async function decode(file) {
  const bitmap = await createImageBitmap(file, {
    imageOrientation: "from-image",
    colorSpaceConversion: "none",
  });
  try {
    return draw(bitmap, bitmap.width, bitmap.height);
  } finally {
    bitmap.close();
  }
}

/** Pixels of a canvas: those of Safari on iPhones have at most 2^24. */
const MOST = 2 ** 24;

/** The pixels of anything a canvas can draw. */
export function draw(image, width, height) {
  const rows = Math.max(1, Math.min(height, Math.floor(MOST / width)));
  const canvas = Object.assign(document.createElement("canvas"), {width, height: rows});
  const context = canvas.getContext("2d", {willReadFrequently: true});
  const pixels = new ImageData(width, height);
  for (let top = 0; top < height; top += rows) {
    context.fillStyle = "white";
    context.fillRect(0, 0, width, rows);
    context.drawImage(image, 0, -top);
    pixels.data.set(context.getImageData(0, 0, width, Math.min(rows, height - top)).data, 4 * width * top);
  }
  // Safari keeps the memory of a canvas for a while, unless it is empty.
  canvas.width = canvas.height = 0;
  // Safari gives a canvas that is too large no memory, and all zeros for its pixels; white has an alpha of 255.
  if (!pixels.data[3]) throw new Error("larger than a canvas may be");
  return pixels;
}

/**
 * Resizes an image to a square; returns its RGB bytes, row by row.
 *
 * The resizing of a canvas differs between browsers and skips pixels when it shrinks an image a lot. So the
 * antialiased bilinear filter is computed here: `tf.image.resize(antialias=True)`, in the same order of
 * operations and precision, which gives the same bytes.
 *
 * @param image ImageData.
 * @param size side of the square in pixels.
 * @param resize "stretch", "letterbox" or "crop", as in spec.json.
 */
export function prepare(image, size, resize) {
  let [left, top, width, height] = [0, 0, image.width, image.height];
  let [toWidth, toHeight] = [size, size];
  if (resize === "crop") {
    const side = Math.min(width, height);
    [left, top] = [Math.floor((width - side) / 2), Math.floor((height - side) / 2)];
    [width, height] = [side, side];
  }
  if (resize === "letterbox") {
    const scale = Math.fround(size / Math.max(width, height));
    toWidth = Math.max(1, roundToEven(width * scale));
    toHeight = Math.max(1, roundToEven(height * scale));
  }

  const {data} = image;
  const low = new Float32Array(toHeight * width * 3);
  taps(height, toHeight).forEach(({first, weights}, y) => {
    for (let row = 0; row < weights.length; row++) {
      const weight = weights[row];
      let from = 4 * ((top + first + row) * image.width + left);
      for (let at = 3 * y * width; at < 3 * (y + 1) * width; at += 3, from += 4) {
        low[at] += Math.fround(weight * data[from]);
        low[at + 1] += Math.fround(weight * data[from + 1]);
        low[at + 2] += Math.fround(weight * data[from + 2]);
      }
    }
  });

  const square = new Uint8Array(size * size * 3);
  const above = Math.floor((size - toHeight) / 2);
  const before = Math.floor((size - toWidth) / 2);
  const sum = new Float32Array(3);
  taps(width, toWidth).forEach(({first, weights}, x) => {
    for (let y = 0; y < toHeight; y++) {
      sum.fill(0);
      for (let column = 0; column < weights.length; column++) {
        const from = 3 * (y * width + first + column);
        for (let c = 0; c < 3; c++) sum[c] += Math.fround(weights[column] * low[from + c]);
      }
      for (let c = 0; c < 3; c++) square[3 * ((above + y) * size + before + x) + c] = sum[c] + 0.5;
    }
  });
  return square;
}

/** Rounds in single precision, and halves to the even neighbor, as TensorFlow does. */
function roundToEven(value) {
  const exact = Math.fround(value);
  const up = Math.round(exact);
  return up - exact === 0.5 && up % 2 ? up - 1 : up;
}

/** For each of `to` output samples: the first of the `from` input pixels it depends on, and their weights. */
function taps(from, to) {
  const {fround} = Math;
  const scale = fround(from / to);
  const radius = Math.max(scale, 1);
  const narrowing = fround(1 / radius);
  return Array.from({length: to}, (_, i) => {
    const center = fround((i + 0.5) * scale);
    const first = Math.max(0, Math.ceil(center - radius - 0.5));
    const last = Math.min(from - 1, Math.floor(center + radius - 0.5));
    const weights = Array.from({length: last - first + 1}, (_, j) => {
      const distance = fround(fround(first + j + 0.5 - center) * narrowing);
      return Math.max(0, fround(1 - Math.abs(distance)));
    });
    const norm = fround(1 / weights.reduce((a, b) => fround(a + b)));
    return {first, weights: weights.map((weight) => fround(weight * norm))};
  });
}
