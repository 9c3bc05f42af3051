/** The page: a picture comes in, the network answers, and everything is said in the chosen language. */

import {bin} from "./bins.js";
import {network} from "./network.js";
import {decode, draw, prepare} from "./picture.js";
import {TEXTS} from "./texts.js";

const find = (id) => document.getElementById(id);
const [picture, video] = [find("picture"), find("video")];
/** What is shown; every change goes through `show`. */
const shown = {language: navigator.language.startsWith("ko") ? "ko" : "en", state: "loading"};
let asked = 0;

function show(changes) {
  Object.assign(shown, changes);
  const {state, language, spec} = shown;
  document.body.dataset.state = state;
  document.documentElement.lang = language;
  document.title = text("title");
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = text(element.dataset.text);
  for (const button of document.querySelectorAll(".languages button")) {
    button.setAttribute("aria-pressed", String(button.lang === language));
  }
  picture.alt = text("picture");
  picture.hidden = !picture.src || state === "live";
  video.hidden = state !== "live";
  find("camera").hidden = find("choose").hidden = state === "live";
  find("shutter").hidden = find("stop").hidden = state !== "live";
  find("camera").disabled = find("choose").disabled = !spec || state === "computing";
  find("answer").replaceChildren(...(state === "answered" ? answer() : [say("p", "notice", text(noticed()))]));
  find("likelihoods").hidden = find("speed").hidden = state !== "answered";
  if (state === "answered") {
    find("likelihoods").replaceChildren(...likelihoods());
    find("likelihoods").setAttribute("aria-label", text("alternatives"));
    find("speed").textContent = text("speed", shown.milliseconds);
  }
  if (spec) find("about").replaceChildren(...about());
}

function text(key, values = {}) {
  return TEXTS[shown.language][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/** Which text stands where the answer will. */
function noticed() {
  return shown.state === "live" ? "ready" : shown.state;
}

function say(tag, name, content) {
  return Object.assign(document.createElement(tag), {className: name, textContent: content});
}

function percent(share, digits = 0) {
  const style = {style: "percent", minimumFractionDigits: digits, maximumFractionDigits: digits};
  return new Intl.NumberFormat(shown.language, style).format(share);
}

/** A class by its number: its bin and what it is called. */
function named(index) {
  const {labels, labels_ko: korean} = shown.spec;
  const name = shown.language === "ko" && korean ? korean[index] : labels[index];
  return {...bin(labels[index], index), name};
}

function drawing(of) {
  const icon = say("span", "icon", "");
  icon.innerHTML = of.drawing;
  return icon;
}

function answer() {
  const [first, second] = shown.order;
  const probability = shown.probabilities[first];
  const card = find("answer");
  const sure = probability >= (shown.spec.threshold ?? 0);
  card.dataset.sure = String(sure);
  if (!sure) {
    const names = {first: named(first).name, second: named(second).name};
    return [
      say("span", "icon question", "?"),
      say("p", "name", text("notSure")),
      say("p", "perhaps", text("perhaps", names)),
      say("p", "advice", text("advice")),
    ];
  }
  const best = named(first);
  card.style.setProperty("--bin", best.colour);
  const bar = say("span", "bar", "");
  bar.style.setProperty("--share", probability);
  return [
    drawing(best),
    say("p", "over", text("goesIn")),
    say("p", "name", best.name),
    bar,
    say("p", "sure", text("sure", {percent: percent(Math.min(probability, 0.99))})),
  ];
}

function likelihoods() {
  return shown.order.map((index) => {
    const [one, row, bar] = [named(index), say("li", "", ""), say("span", "bar", "")];
    row.dataset.label = shown.spec.labels[index];
    row.style.setProperty("--bin", one.colour);
    bar.style.setProperty("--share", shown.probabilities[index]);
    const share = say("span", "share", percent(shown.probabilities[index], 1));
    row.append(drawing(one), say("span", "name", one.name), bar, share);
    return row;
  });
}

function about() {
  const {spec} = shown;
  const rows = {
    network: `${spec.arch}, ${spec.image_size} × ${spec.image_size}`,
    dataset: spec.dataset,
    bins: spec.labels.map((_, index) => named(index).name).join(", "),
  };
  if (spec.license) rows.license = spec.license;
  if (spec.calibration?.accuracy_above_threshold) {
    const {accuracy_above_threshold: accuracy, share_above_threshold: coverage, examples} = spec.calibration;
    rows.measured = text("threshold", {
      threshold: percent(spec.threshold),
      accuracy: percent(accuracy),
      coverage: percent(coverage),
      examples,
    });
  }
  rows.limits = text("limit");
  return Object.entries(rows).flatMap(([key, value]) => [say("dt", "", text(key)), say("dd", "", value)]);
}

/** Asks the network about pixels that `read` gives, while the picture at `url` is shown. */
async function ask(url, read) {
  const number = ++asked;
  URL.revokeObjectURL(picture.src);
  picture.src = url;
  show({state: "computing"});
  // What has been drawn shows before the computing holds the page up.
  await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
  try {
    const {spec, predict} = await network;
    const start = performance.now();
    const pixels = prepare(await read(), spec.image_size, spec.resize);
    const prepared = performance.now();
    const probabilities = await predict(pixels);
    const computed = performance.now();
    if (number !== asked) return;
    const order = [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a]);
    const milliseconds = {picture: Math.round(prepared - start), network: (computed - prepared).toFixed(1)};
    show({state: "answered", probabilities, order, milliseconds});
  } catch {
    picture.removeAttribute("src");
    show({state: "unreadable"});
  }
}

function askFile(file) {
  if (file) ask(URL.createObjectURL(file), () => decode(file));
}

async function startCamera() {
  // Browsers give a live camera to https and localhost alone; elsewhere the phone's own camera takes over.
  if (!navigator.mediaDevices) return find("snapshot").click();
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({
      video: {facingMode: "environment", width: {ideal: 1280}, height: {ideal: 1280}},
    });
  } catch {
    return show({state: "noCamera"});
  }
  await video.play();
  show({state: "live"});
  find("shutter").focus();
}

function stopCamera() {
  for (const track of video.srcObject.getTracks()) track.stop();
  video.srcObject = null;
}

find("camera").addEventListener("click", startCamera);
find("choose").addEventListener("click", () => find("file").click());
find("stop").addEventListener("click", () => {
  stopCamera();
  show({state: shown.order && picture.src ? "answered" : "ready"});
  find("camera").focus();
});
find("shutter").addEventListener("click", async () => {
  const image = draw(video, video.videoWidth, video.videoHeight);
  stopCamera();
  const canvas = Object.assign(document.createElement("canvas"), {width: image.width, height: image.height});
  canvas.getContext("2d").putImageData(image, 0, 0);
  await ask(canvas.toDataURL("image/jpeg"), () => image);
  find("camera").focus();
});
for (const input of [find("file"), find("snapshot")]) {
  input.addEventListener("change", () => {
    askFile(input.files[0]);
    input.value = "";
  });
}
for (const button of document.querySelectorAll(".languages button")) {
  button.addEventListener("click", () => show({language: button.lang}));
}
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  if (shown.spec && shown.state !== "live") askFile(event.dataTransfer.files[0]);
});

show({});
network.then(
  ({spec}) => show({state: "ready", spec}),
  (error) => {
    console.error(error);
    show({state: "failed"});
  },
);
