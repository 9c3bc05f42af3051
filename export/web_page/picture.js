/** A picture as the network was trained to see it: upright, square, resampled as TensorFlow does. */

/** The pixels of an image file, turned as its Exif says, on white paper where it is transparent. */
export async function decode(file) {
  const bitmap = await createImageBitmap(file, {
    imageOrientation: "from-image",
    colorSpaceConversion: "none",
  });
  return draw(bitmap, bitmap.width, bitmap.height);
}

/** The pixels of anything a canvas can draw. */
export function draw(image, width, height) {
  const canvas = Object.assign(document.createElement("canvas"), {width, height});
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, width, height);
}

/**
 * RGB bytes of a square, row by row.
 *
 * A canvas' own resizing differs from browser to browser and skips pixels where it shrinks much, so the
 * bilinear filter, widened where it shrinks, is computed here: `tf.image.resize(antialias=True)`.
 *
 * @param image ImageData.
 * @param size side of the square.
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
    const scale = size / Math.max(width, height);
    toWidth = Math.max(1, Math.round(width * scale));
    toHeight = Math.max(1, Math.round(height * scale));
  }

  const {data} = image;
  const columns = taps(width, toWidth);
  const rows = taps(height, toHeight);
  const narrow = new Float32Array(height * toWidth * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < toWidth; x++) {
      const {first, weights} = columns[x];
      let [red, green, blue] = [0, 0, 0];
      let from = 4 * ((top + y) * image.width + left + first);
      for (const weight of weights) {
        red += weight * data[from];
        green += weight * data[from + 1];
        blue += weight * data[from + 2];
        from += 4;
      }
      const at = 3 * (y * toWidth + x);
      [narrow[at], narrow[at + 1], narrow[at + 2]] = [red, green, blue];
    }
  }

  const square = new Uint8Array(size * size * 3);
  const above = Math.floor((size - toHeight) / 2);
  const before = Math.floor((size - toWidth) / 2);
  for (let y = 0; y < toHeight; y++) {
    const {first, weights} = rows[y];
    for (let i = 0; i < 3 * toWidth; i++) {
      let sum = 0;
      weights.forEach((weight, row) => (sum += weight * narrow[(first + row) * toWidth * 3 + i]));
      square[3 * ((above + y) * size + before) + i] = sum + 0.5;
    }
  }
  return square;
}

/** For each of `to` samples, the first of `from` pixels that it is made of, and their weights. */
function taps(from, to) {
  const scale = from / to;
  const radius = Math.max(scale, 1);
  return Array.from({length: to}, (_, i) => {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.ceil(centre - radius - 0.5));
    const last = Math.min(from - 1, Math.floor(centre + radius - 0.5));
    const weights = Array.from({length: last - first + 1}, (_, j) =>
      Math.max(0, 1 - Math.abs(first + j + 0.5 - centre) / radius));
    const total = weights.reduce((a, b) => a + b);
    return {first, weights: weights.map((weight) => weight / total)};
  });
}
