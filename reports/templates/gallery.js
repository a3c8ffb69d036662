// Where two models disagree: counts over all test images, and the pictures that the run kept.
const AT_MOST = 18; // pictures of a side
const bitsOf = new Map();
let sheet = null;

// Which images a model got right, in the order of their classes.
function rightOf(place) {
  if (!bitsOf.has(place)) bitsOf.set(place, Uint8Array.from(atob(data.gallery.right[place]), (c) => c.charCodeAt(0)));
  return bitsOf.get(place);
}

// For each class how many images only the first, and only the second, got right.
function countOnly(a, b) {
  const [first, second] = [rightOf(a), rightOf(b)];
  let image = 0;
  return data.gallery.counts.map((count) => {
    const only = [0, 0];
    for (const end = image + count; image < end; image++) {
      const bit = (bytes) => (bytes[image >> 3] >> (7 - (image & 7))) & 1;
      if (bit(first) !== bit(second)) only[bit(first) ? 0 : 1] += 1;
    }
    return only;
  });
}

const galleryPlace = (i) => Math.max(0, data.gallery.rows.indexOf(i));

function galleryPair() {
  const [first, second] = state.pair ?? data.gallery.rows;
  return [galleryPlace(first), galleryPlace(second)];
}

function writeP(p) {
  return p < 0.0001 ? "below 0.0001" : p.toFixed(4);
}

function pairSentence(a, b, only) {
  const { rows, seeds, counts, p, test } = data.gallery;
  const [onlyA, onlyB] = [0, 1].map((side) => only.reduce((sum, each) => sum + each[side], 0));
  const [nameA, nameB] = [a, b].map((place) => data.rows[rows[place]].name);
  const all = counts.reduce((sum, count) => sum + count, 0).toLocaleString("en");
  const value = a === b ? 1 : p[Math.max(a, b)][Math.min(a, b)];
  return `Of ${all} test images ${onlyA.toLocaleString("en")} are right by ${nameA} alone, ${onlyB.toLocaleString("en")} by ${nameB} alone. ${test} of no difference is ${writeP(value)}, for this pair alone. Each model answered with its first seed (${seeds[a]} and ${seeds[b]}).`;
}

function classesTable(a, b, only, names) {
  const rows = only.map(([x, y], c) => [names[c], data.gallery.counts[c], x, y]).filter((row) => row[2] + row[3]);
  rows.sort((x, y) => Math.abs(y[2] - y[3]) - Math.abs(x[2] - x[3]) || y[2] + y[3] - x[2] - x[3]);
  const [nameA, nameB] = [a, b].map((place) => data.rows[data.gallery.rows[place]].label);
  return scrolled("Classes in which the two disagree", table(["Class", "Images", `Only ${nameA}`, `Only ${nameB}`], rows));
}

function cutPicture(number) {
  const { side, across } = data.gallery.pictures;
  const canvas = element("canvas", { width: side, height: side });
  canvas.getContext("2d").drawImage(sheet, (number % across) * side, Math.floor(number / across) * side, side, side, 0, 0, side, side);
  return canvas.toDataURL();
}

function picturesOf(right, wrong, names) {
  const { index, labels, said } = data.gallery.pictures;
  const found = labels.map((label, n) => n).filter((n) => said[right][n] === labels[n] && said[wrong][n] !== labels[n] && (state.class === null || labels[n] === state.class));
  const [by, against] = [right, wrong].map((place) => data.rows[data.gallery.rows[place]].name);
  const items = found.slice(0, AT_MOST).map((n) => {
    const image = element("img", { src: cutPicture(n), alt: `Test image ${index[n]}, ${names[labels[n]]}`, width: "64", height: "64" });
    return element("li", {}, image, element("span", {}, names[labels[n]]), element("span", { class: "said" }, `as ${names[said[wrong][n]]}`));
  });
  const none = element("p", { class: "quiet" }, "None of the pictures that the run kept.");
  const more = found.length > AT_MOST ? [element("p", { class: "quiet" }, `${AT_MOST} of ${found.length}.`)] : [];
  return part(`Right by ${by}, wrong by ${against}`, items.length ? element("ul", { class: "pictures" }, ...items) : none, ...more);
}

async function showGallery() {
  if (!data.gallery.rows) return;
  const [a, b] = galleryPair();
  const names = data.datasets[data.models[data.gallery.rows[0]].dataset].classes;
  if (!$("#class").options.length) $("#class").append(element("option", { value: "" }, "all"), ...names.map((name, c) => element("option", { value: c }, name)));
  $("#first").value = data.gallery.rows[a];
  $("#second").value = data.gallery.rows[b];
  $("#class").value = state.class ?? "";
  const only = countOnly(a, b);
  const content = [element("p", {}, pairSentence(a, b, only)), classesTable(a, b, only, names)];
  if (data.gallery.pictures.sheet) {
    if (!sheet) {
      sheet = new Image();
      sheet.src = data.gallery.pictures.sheet;
    }
    await sheet.decode();
    content.push(picturesOf(a, b, names), picturesOf(b, a, names));
  } else content.push(element("p", { class: "quiet" }, "No pictures: the run kept none of images on which these models disagree, or it is published, and pictures of the data set aren't."));
  $("#gallery .body").replaceChildren(...content);
}

function wireGallery() {
  if (!data.gallery.rows) return;
  const change = () => {
    state.pair = ["#first", "#second"].map((id) => Number($(id).value));
    state.class = $("#class").value === "" ? null : Number($("#class").value);
    showGallery();
    keepAddress();
  };
  for (const id of ["#first", "#second", "#class"]) $(id).addEventListener("change", change);
}
