// The chooser's sentences, with Python's words (`reports/choice_text.py`) and formats of numbers (`reports/column.py`).
const MAX_MISSES = 6;
const MAX_CHANCES = 8; // models in the table of chances
const PREFERRED = ["top1", "train_images_per_second", "infer_images_per_second", "latency_ms_p50"];

// Rounded as Python does: of two equally near numbers to the one whose last digit is even.
function fixed(value, digits) {
  const doubled = 2 * Math.abs(value) * 10 ** digits;
  const isTie = doubled % 2 === 1 && Number.isInteger(value * 2 ** (digits + 1));
  if (!isTie) return value.toFixed(digits);
  const down = (doubled - 1) / 2;
  return ((Math.sign(value) * (down + (down % 2))) / 10 ** digits).toFixed(digits);
}

const apart = (text) => text.replace(/\B(?=(\d{3})+(?!\d))/g, ",");

// A number below 1 to two digits, as Python's `g` writes it.
function twoDigits(value) {
  const [mantissa, power] = value.toExponential(1).split("e");
  return power < -4 ? `${Number(mantissa)}e-${power.slice(1).padStart(2, "0")}` : String(Number(fixed(value, 1 - power)));
}

function threeDigits(value) {
  const size = Math.abs(value);
  if (value === 0 || size >= 99.95) return apart(fixed(value, 0));
  return size >= 9.995 ? fixed(value, 1) : size >= 0.0995 ? fixed(value, 2) : twoDigits(value);
}

function formatValue(value, kind) {
  if (kind === "percent") return fixed(value, 1);
  if (kind === "bytes") return value < 1e9 ? `${threeDigits(value / 1e6)} MB` : `${threeDigits(value / 1e9)} GB`;
  if (kind === "seconds") return value < 120 ? `${threeDigits(value)} s` : `${apart(fixed(value / 60, 1))} min`;
  if (kind !== "count") return threeDigits(value);
  const step = [[1e9, " G"], [1e6, " M"], [1e3, " k"]].find(([size]) => value >= size);
  return step ? threeDigits(value / step[0]) + step[1] : fixed(value, 0);
}

const aboutColumn = (key) => data.chooser.columns[key];
const figureText = (value, key) => `${formatValue(value, aboutColumn(key).kind)} ${aboutColumn(key).unit}`.trim();
const withinSentence = (title) => title.slice(0, 1).toLowerCase() + title.slice(1);
const limitText = ({ column, sign, value }) => `${aboutColumn(column).title} ${sign === "<=" ? "at most" : "at least"} ${figureText(value, column)}`;

function chanceText(chance) {
  const { sure, unlikely } = data.chooser.words;
  return chance > 0.995 ? sure : chance < 0.005 ? unlikely : `${fixed(100 * chance, 0)} %`;
}

// The words under a key with their parts in place: a list of text and elements.
function fill(key, parts = {}) {
  return data.chooser.words[key].split(/\{(\w+)\}/).flatMap((text, i) => (i % 2 ? parts[text] : text));
}

const inBold = (group, place) => element("b", {}, data.rows[data.chooser.groups[group].rows[place]].name);

function distance([value, low, high], key, column) {
  if (column.log) return fill("ratio", { value: threeDigits(value), low: threeDigits(low), high: threeDigits(high) });
  const where = data.chooser.words[value < 0 ? "ahead" : "behind"];
  const ends = value < 0 ? [-value, -high, -low] : [value, low, high];
  const [shown, from, to] = ends.map((end) => formatValue(end, aboutColumn(key).kind));
  return fill("points", { value: shown, low: from, high: to, where, unit: aboutColumn(key).unit === "%" ? " points" : "" });
}

function missText(group, { model, limit, share }) {
  if (share === Infinity) return fill("unknown", { model: inBold(group, model), title: withinSentence(aboutColumn(limit.column).title) });
  const value = candidatesOf(group, limit.column).values[model];
  return fill("miss", { model: inBold(group, model), limit: withinSentence(limitText(limit)), share: formatValue(100 * share, "number"), figure: figureText(value, limit.column) });
}

function noneSentence(group, misses) {
  const said = misses.slice(0, MAX_MISSES).map((miss) => missText(group, miss));
  if (misses.length > MAX_MISSES) said.push(fill("more", { number: misses.length - MAX_MISSES }));
  return fill("none", { misses: said.flatMap((each, i) => (i ? ["; ", ...each] : each)) });
}

function insteadText(group, other, taken, preferred) {
  const keys = state.limits.map((limit) => limit.column).concat(state.price === null ? [] : ["train_cost"]);
  return [...new Set(keys)].filter((key) => key !== preferred).flatMap((key) => {
    const values = candidatesOf(group, key)?.values ?? [];
    if (values[other] === undefined || values[taken] === undefined) return [];
    return fill("instead", { title: withinSentence(aboutColumn(key).title), other: figureText(values[other], key), own: figureText(values[taken], key) });
  });
}

const preferredOf = (group) => state.prefer ?? PREFERRED.find((key) => data.chooser.groups[group].columns[key]) ?? "top1";

// What is chosen in a group, and the sentences that say so, each a list of text and elements.
function answerOf(group) {
  const preferred = preferredOf(group);
  const keys = [preferred, ...state.limits.map((limit) => limit.column)];
  const columns = Object.fromEntries(keys.map((key) => [key, candidatesOf(group, key)]));
  const lacking = keys.find((key) => !columns[key]);
  if (lacking) return { sentences: [fill("no figure", { title: withinSentence(aboutColumn(lacking)?.title ?? lacking) })] };
  const wanted = columns[preferred];
  const choice = choose(columns, preferred, state.limits);
  const shown = { preferred, columns, choice };
  if (choice.taken === null) return { ...shown, sentences: [noneSentence(group, choice.misses)] };
  const number = wanted.draws.filter((own) => own).length;
  const title = withinSentence(aboutColumn(preferred).title);
  if (number === 1 && !state.limits.length) return { ...shown, sentences: [fill("alone", { model: inBold(group, choice.taken), title })] };
  return { ...shown, sentences: sentencesOf(group, choice, preferred, wanted, number, title) };
}

function sentencesOf(group, choice, preferred, wanted, number, title) {
  const { taken, second, behind, binding, doubt, exact, chances } = choice;
  const first = fill(exact ? "exact" : "take", { model: inBold(group, taken), chance: chanceText(chances[taken]), number, title, within: state.limits.length ? data.chooser.words.within : "" });
  if (second !== null) {
    first.push(...fill("second", { model: inBold(group, second), chance: chanceText(chances[second]), behind: distance(behind, preferred, wanted) }));
    first.push(...insteadText(group, second, taken, preferred));
  }
  const sentences = [[...first, "."]];
  if (binding) sentences.push(fill("binds", { limit: limitText(binding.limit), model: inBold(group, binding.model), behind: distance(binding.behind, preferred, wanted) }));
  if (wanted.source === "one seed") sentences.push(fill("one seed"));
  if (doubt !== "none") sentences.push(fill(doubt === "one seed" ? "one seed only" : doubt));
  return sentences;
}

function chancesTable(group, { preferred, columns, choice }) {
  const keys = [...new Set([preferred, ...state.limits.map((limit) => limit.column), ...(state.price === null ? [] : ["train_cost"])])].filter((key) => candidatesOf(group, key));
  const places = choice.chances.map((_, place) => place).filter((place) => columns[preferred].draws[place]);
  places.sort((a, b) => choice.chances[b] - choice.chances[a] || a - b);
  const rows = places.slice(0, MAX_CHANCES).map((place) => {
    const figures = keys.map((key) => candidatesOf(group, key).values[place]);
    return [data.rows[data.chooser.groups[group].rows[place]].label, chanceText(choice.chances[place]), ...figures.map((value, n) => (value === undefined ? "" : figureText(value, keys[n])))];
  });
  return scrolled("How likely each model is the best", table(["Model", "The best within the limits", ...keys.map((key) => aboutColumn(key).title)], rows));
}
