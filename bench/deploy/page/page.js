// The page's script. What the server or a file says is shown as text, never as markup.
'use strict';

const MAX_MODELS = 4;
const HEAT_OPACITY = 0.65;
const byId = (id) => document.getElementById(id);
const canvas = byId('picture');

// The picture that was asked about last, the image drawn of it, and the number of the question:
// an answer that comes after another question isn't shown.
let asked = null;
let drawn = null;
let question = 0;
let maxBytes = Infinity;

function make(tag, text = '', className = '') {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function say(text, isBad = false) {
  byId('status').textContent = text;
  byId('status').classList.toggle('bad', isBad);
}

function chosenModels() {
  return [...document.querySelectorAll('#models input:checked')].map((input) => input.value);
}

function titleOf(key) {
  return document.querySelector(`#models input[value="${CSS.escape(key)}"]`).dataset.title;
}

async function post(path, query, picture) {
  const type = picture.type || 'application/octet-stream';
  const address = `${path}?${new URLSearchParams(query)}`;
  const answer = await fetch(address, {method: 'POST', body: picture, headers: {'Content-Type': type}});
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error);
  return found;
}

async function ask(picture) {
  const own = ++question;
  asked = picture;
  say('Asking …');
  try {
    // A server that stops reading looks to a browser like one that isn't there.
    if (picture.size > maxBytes) throw new Error(`The picture has over ${maxBytes / 1e6} MB`);
    const query = chosenModels().map((key) => ['model', key]);
    const [found, image] = await Promise.all([post('/predict', query, picture), readImage(picture)]);
    if (own !== question) return;
    drawn = image;
    showAnswers(found);
    say('');
  } catch (error) {
    if (own !== question) return;
    byId('result').hidden = true;
    say(error instanceof TypeError ? "The server doesn't answer." : `${error.message}.`, true);
  }
}

// The browser may not know the format; the server has its own decoder.
function readImage(picture) {
  return createImageBitmap(picture).catch(() => null);
}

function showAnswers({width, height, answers, verdict}) {
  const first = answers[0].classes[0];
  byId('verdict').textContent = verdict || `${first.name}, ${percent(first.probability)}`;
  byId('caption').textContent = drawn
    ? `The centre square of ${width} x ${height} pixels, as the models see it.`
    : `${width} x ${height} pixels, in a format that this browser doesn't show.`;
  byId('answers').replaceChildren(...answers.map(answerCard));
  canvas.hidden = !drawn;
  drawPicture();
  byId('result').hidden = false;
  byId('result').focus({preventScroll: true});
  byId('result').scrollIntoView({block: 'nearest'});
}

function answerCard(answer) {
  const card = make('article');
  const list = make('ol');
  list.append(...answer.classes.map(classRow));
  card.append(make('h3', titleOf(answer.model)), list);
  if (answer.set) card.append(make('p', `Sets like this hold the true class for 9 of 10 pictures: ${answer.set}.`));
  card.append(make('p', `Answered in ${answer.milliseconds} ms.`, 'quiet'));
  const button = make('button', 'Where did it look?');
  button.type = 'button';
  button.setAttribute('aria-label', `Where did ${titleOf(answer.model)} look?`);
  button.addEventListener('click', () => showHeat(answer, button));
  card.append(button);
  return card;
}

function classRow({name, superclass, probability}) {
  const row = make('li');
  const line = make('span');
  const label = make('b', name);
  if (superclass) label.append(' ', make('i', superclass));
  line.append(label, make('output', percent(probability)));
  const bar = make('meter');
  bar.value = probability;
  bar.setAttribute('aria-label', `Probability of ${name}`);
  row.append(line, bar);
  return row;
}

function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}

async function showHeat(answer, button) {
  const own = question;
  button.disabled = true;
  say('Looking …');
  try {
    const query = [['model', answer.model], ['class', answer.number]];
    const heat = await post('/explain', query, asked);
    if (own !== question) return;
    drawPicture();
    drawHeat(heat);
    const name = answer.classes[0].name;
    byId('caption').textContent = `What spoke for ${name} to ${titleOf(answer.model)}: the redder, the more.`;
    say('');
  } catch (error) {
    if (own === question) say(`${error.message}.`, true);
  } finally {
    button.disabled = false;
  }
}

function drawPicture() {
  if (!drawn) return;
  const side = Math.min(drawn.width, drawn.height);
  const left = (drawn.width - side) / 2;
  const top = (drawn.height - side) / 2;
  const context = canvas.getContext('2d');
  context.imageSmoothingEnabled = side > 64;
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(drawn, left, top, side, side, 0, 0, canvas.width, canvas.height);
}

function drawHeat({side, heat}) {
  canvas.hidden = false;
  const layer = new OffscreenCanvas(side, side);
  const pixels = new ImageData(side, side);
  heat.forEach((value, place) => {
    pixels.data.set([255, 40, 0, HEAT_OPACITY * value], 4 * place);
  });
  layer.getContext('2d').putImageData(pixels, 0, 0);
  const context = canvas.getContext('2d');
  context.imageSmoothingEnabled = true;
  context.drawImage(layer, 0, 0, canvas.width, canvas.height);
}

function limitModels() {
  const inputs = [...document.querySelectorAll('#models input')];
  const count = chosenModels().length;
  for (const input of inputs) {
    // The last one stays: somebody has to answer.
    input.disabled = input.checked ? count === 1 : count >= MAX_MODELS;
  }
}

function modelChoice({key, title}, number) {
  const label = make('label');
  const input = make('input');
  Object.assign(input, {type: 'checkbox', value: key, checked: number === 0});
  input.dataset.title = title;
  input.addEventListener('change', () => {
    limitModels();
    if (asked) ask(asked);
  });
  label.append(input, title);
  return label;
}

function sampleButton(name, number) {
  const button = make('button');
  button.type = 'button';
  const image = make('img');
  Object.assign(image, {src: `/sample/${number}.png`, alt: name, title: name, loading: 'lazy'});
  button.append(image);
  button.addEventListener('click', async () => ask(await (await fetch(image.src)).blob()));
  return button;
}

function listenToPictures() {
  const drop = byId('drop');
  byId('file').addEventListener('change', ({target}) => {
    if (target.files.length) ask(target.files[0]);
    target.value = '';  // so that the same file can be chosen again
  });
  document.addEventListener('paste', ({clipboardData}) => {
    if (clipboardData.files.length) ask(clipboardData.files[0]);
  });
  // A picture that is dropped beside the frame would be opened in place of the page.
  document.addEventListener('dragover', (event) => {
    event.preventDefault();
    drop.classList.add('over');
  });
  document.addEventListener('dragleave', () => drop.classList.remove('over'));
  document.addEventListener('drop', (event) => {
    event.preventDefault();
    drop.classList.remove('over');
    if (event.dataTransfer.files.length) ask(event.dataTransfer.files[0]);
  });
  drop.addEventListener('submit', (event) => event.preventDefault());
}

async function start() {
  const {models, samples, max_bytes: most} = await (await fetch('/models')).json();
  maxBytes = most;
  byId('models').append(...models.map(modelChoice));
  limitModels();
  byId('samples').hidden = !samples.length;
  byId('samples').querySelector('div').append(...samples.map(sampleButton));
  listenToPictures();
}

start();
