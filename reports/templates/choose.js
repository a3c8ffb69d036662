// Which model to take under limits, as `bench/results/choice.py` says it of the same draws.
const SURE = 0.95;
const known = new Map(); // what the draws of a group's column are made from, and they themselves

const onScale = (value, column) => (column.log ? (value > 0 ? Math.log(value) : -Infinity) : value);

// A group's figures in a column; null if it has none. The cost of training changes with the price.
function candidatesOf(group, key) {
  const name = `${group} ${key}${key === "train_cost" ? state.price : ""}`;
  if (!known.has(name)) known.set(name, findCandidates(group, key));
  return known.get(name);
}

function findCandidates(group, key) {
  const { rows, columns } = data.chooser.groups[group];
  const about = columns[key === "train_cost" ? "train_seconds" : key];
  if (!about) return null;
  const values = rows.map((i) => figureIn(data.rows[i], key));
  const places = rows.map((_, place) => place).filter((place) => values[place] !== undefined);
  if (!places.length) return null;
  const column = { key, higher: data.chooser.columns[key].higher, log: about.log, source: about.source, exact: !about.own };
  const field = { figures: places.map((place) => onScale(values[place], about)), own: about.own ?? places.map(() => 0), shared: about.shared ?? 0, spreads: about.spreads ?? [] };
  const draws = new Array(rows.length).fill(null);
  drawTrue(field, key).forEach((drawn, n) => (draws[places[n]] = drawn));
  const figures = new Array(rows.length).fill(NaN);
  places.forEach((place, n) => (figures[place] = field.figures[n]));
  // Most models keep a limit in all draws, or in none: their ends say so.
  const ends = draws.map((drawn) => drawn && [drawn.reduce((a, b) => Math.min(a, b)), drawn.reduce((a, b) => Math.max(a, b))]);
  return { ...column, figures, draws, ends, values };
}

function figureIn(row, key) {
  if (row.status !== "ok") return undefined;
  if (key !== "train_cost") return row.values[key];
  return row.values.train_seconds === undefined || state.price === null ? undefined : (state.price * row.values.train_seconds) / 3600;
}

const keeps = (limit, value, bound) => (limit.sign === "<=" ? value <= bound : value >= bound);

// In which draws a model keeps all limits: null for none, true for all, else a list.
function keptDraws(columns, limits, place, drawn) {
  let kept = true;
  for (const limit of limits) {
    const column = columns[limit.column];
    const bound = onScale(limit.value, column);
    if (!column.draws[place]) return null;
    const ends = drawn ? column.ends[place] : [column.figures[place], column.figures[place]];
    const [low, high] = ends.map((end) => keeps(limit, end, bound));
    if (!low && !high) return null;
    if (low && high) continue;
    const own = column.draws[place];
    kept = Uint8Array.from(own, (value, draw) => (kept === true || kept[draw]) && keeps(limit, value, bound));
  }
  return kept;
}

// In what share of draws each model is the best that keeps all limits; models that tie share the draw.
function shareOfBest(columns, wanted, limits, drawn = true) {
  const sign = wanted.higher ? 1 : -1;
  const [best, ties] = [new Float64Array(NUM_DRAWS).fill(-Infinity), new Float64Array(NUM_DRAWS)];
  const masks = wanted.draws.map((own, place) => (own ? keptDraws(columns, limits, place, drawn) : null));
  const each = (act) => masks.forEach((kept, place) => {
    if (kept === null) return;
    const own = wanted.draws[place];
    for (let draw = 0; draw < NUM_DRAWS; draw++) if (kept === true || kept[draw]) act(sign * own[draw], draw, place);
  });
  each((value, draw) => {
    if (value > best[draw]) [best[draw], ties[draw]] = [value, 1];
    else if (value === best[draw]) ties[draw] += 1;
  });
  const shares = masks.map(() => 0);
  each((value, draw, place) => { if (value === best[draw]) shares[place] += 1 / ties[draw]; });
  return shares.map((share) => share / NUM_DRAWS);
}

const keepAll = (columns, limits, wanted) => wanted.draws.map((own, place) => own !== null && keptDraws(columns, limits, place, false) !== null);

// The model with the highest chance; of equals the best, then the first.
function mostLikely(chances, among, wanted) {
  const sign = wanted.higher ? 1 : -1;
  const places = chances.map((_, place) => place).filter((place) => among[place]);
  return places.sort((a, b) => chances[b] - chances[a] || sign * (wanted.figures[b] - wanted.figures[a]) || a - b)[0];
}

// How far one model is behind another, with the interval of the draws; of logarithms the ratio.
function compareFigures(column, model, other) {
  const sign = column.higher ? 1 : -1;
  const behind = sign * (column.figures[model] - column.figures[other]);
  const drawn = column.draws[model].map((value, draw) => sign * (value - column.draws[other][draw])).sort();
  const at = (share) => drawn[Math.round(share * NUM_DRAWS) - 1];
  const ends = [at(0.025), at(0.975)];
  if (!column.log) return [behind, ...ends];
  return [Math.exp(-sign * behind), ...ends.map((end) => Math.exp(-sign * end)).sort((a, b) => a - b)];
}

function missedShare(column, limit, place) {
  const value = column.values[place];
  if (value === undefined) return Infinity;
  const beyond = Math.max(0, limit.sign === "<=" ? value - limit.value : limit.value - value);
  return limit.value ? beyond / Math.abs(limit.value) : beyond;
}

function nearestMisses(columns, limits, wanted) {
  const places = wanted.draws.map((_, place) => place).filter((place) => wanted.draws[place]);
  const worst = (model) => limits.map((limit) => ({ model, limit, share: missedShare(columns[limit.column], limit, model) })).reduce((a, b) => (b.share > a.share ? b : a));
  return places.map(worst).sort((a, b) => a.share - b.share || 0);
}

// The limit without which the best figure gains most; null if none changes the choice.
function findBinding(columns, wanted, limits, taken) {
  const sign = wanted.higher ? 1 : -1;
  let found = null;
  for (const limit of limits) {
    const others = limits.filter((each) => each !== limit);
    const model = mostLikely(shareOfBest(columns, wanted, others), keepAll(columns, others, wanted), wanted);
    const ahead = sign * (wanted.figures[model] - wanted.figures[taken]);
    if (model !== taken && (!found || ahead > found.ahead)) found = { limit, model, ahead, behind: compareFigures(wanted, taken, model) };
  }
  return found;
}

function findDoubt(columns, wanted, limits, chance) {
  if (chance >= SURE) return "none";
  const decided = Math.max(...shareOfBest(columns, wanted, limits, false));
  const unsure = limits.find((limit) => !columns[limit.column].exact);
  return unsure && decided - chance >= (1 - chance) / 2 ? columns[unsure.column].source : wanted.source;
}

function choose(columns, preferred, limits) {
  const wanted = columns[preferred];
  const fits = keepAll(columns, limits, wanted);
  const chances = shareOfBest(columns, wanted, limits);
  if (!fits.includes(true)) return { chances, taken: null, misses: nearestMisses(columns, limits, wanted) };
  const taken = mostLikely(chances, fits, wanted);
  const second = mostLikely(chances, wanted.draws.map((own, place) => own !== null && place !== taken), wanted) ?? null;
  const used = [wanted, ...limits.map((limit) => columns[limit.column])];
  return {
    chances, taken, second, behind: second === null ? null : compareFigures(wanted, taken, second),
    binding: findBinding(columns, wanted, limits, taken), doubt: findDoubt(columns, wanted, limits, chances[taken]), exact: used.every((column) => column.exact),
  };
}
