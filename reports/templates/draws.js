// Joint draws of the models' true figures: the same as `bench/results/posterior.py` makes, from the same counted numbers.
const NUM_DRAWS = 2000;
const FAR = 6; // standard errors

function hashName(name) {
  let state = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) state = Math.imul(state ^ name.charCodeAt(i), 0x01000193);
  return state;
}

// Standard normal numbers that depend on nothing but a name.
function countNormals(name, number) {
  const start = hashName(name);
  const uniform = (count) => {
    let state = (Math.imul(count, 0x6d2b79f5) + start) | 0;
    state = Math.imul(state ^ (state >>> 15), state | 1);
    state ^= state + Math.imul(state ^ (state >>> 7), state | 61);
    return (((state ^ (state >>> 14)) >>> 0) + 0.5) / 4294967296;
  };
  const found = new Float64Array(number);
  for (let i = 0; i < number; i += 2) {
    const [radius, angle] = [Math.sqrt(-2 * Math.log(uniform(i + 1))), 2 * Math.PI * uniform(i + 2)];
    found[i] = radius * Math.cos(angle);
    if (i + 1 < number) found[i + 1] = radius * Math.sin(angle);
  }
  return found;
}

function addUp(weights, values) {
  return weights.reduce((sum, each, i) => sum + each * (values ? values[i] : 1), 0);
}

// The place of the model that is farther from the mean of the others than luck brings it, or -1.
function findFar(figures, precisions) {
  const [total, weighted] = [addUp(precisions), addUp(precisions, figures)];
  const away = precisions.map((each, i) => {
    const mean = (weighted - each * figures[i]) / (total - each);
    return Math.abs(figures[i] - mean) / Math.sqrt(1 / each + 1 / (total - each));
  });
  const most = Math.max(...away);
  return most > FAR ? away.indexOf(most) : -1;
}

// Draws of each model's true figure, a list a model.
function drawTrue({ figures, own, shared, spreads }, name) {
  const common = countNormals(`${name}:shared`, NUM_DRAWS);
  const learned = spreads.map((spread) => {
    const precisions = own.map((error) => 1 / (spread * spread + error * error));
    const pull = precisions.map((each) => spread * spread * each);
    const far = findFar(figures, precisions);
    if (far >= 0) [pull[far], precisions[far]] = [1, 0];
    const total = addUp(precisions);
    return { pull, centre: addUp(precisions, figures) / total, error: 1 / Math.sqrt(total) };
  });
  const centres = learned.length ? countNormals(`${name}:mean`, NUM_DRAWS) : common;
  return figures.map((figure, place) => {
    const noise = countNormals(`${name}:${place}`, NUM_DRAWS);
    return noise.map((normal, draw) => {
      if (!learned.length) return figure + own[place] * normal + shared * common[draw];
      const { pull, centre, error } = learned[draw % learned.length];
      const toward = pull[place];
      const from = centre + error * centres[draw];
      return toward * figure + (1 - toward) * from + Math.sqrt(toward) * own[place] * normal + shared * common[draw];
    });
  });
}
