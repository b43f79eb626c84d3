// Reads the node once a second, and at once when it tells of a change.

import { Rates } from './charts.js';
import { follow, trackPath, view } from './node.js';
import { Panes } from './panes.js';
import { Tree, nameOf } from './tree.js';
import { Watch } from './watch.js';

const EVERY_MS = 1000;
const SOON_MS = 150;
const MOVES_TOLD = 8;

const at = (id) => document.getElementById(id);
const tree = new Tree(at('svg'), at('picked'));
const panes = new Panes(choose);
const rates = new Rates(at('charts'));
const watch = new Watch();
let chosen = decodeURIComponent(location.hash.match(/^#track=(.*)$/)?.[1] ?? '') || null;
let [library, reading, again] = [true, false, false];
let [timer, due] = [0, 0];

function choose(track) {
  if (track === chosen) return;
  chosen = track;
  history.replaceState(null, '', `#track=${encodeURIComponent(track)}`);
  tree.clear();
  soon(0);
}

/** The tracks to choose from; a track that is gone stays while it is chosen. */
function offer(tracks) {
  const names = tracks.map(({ track }) => track);
  if (!chosen && names.length) {
    chosen = (tracks.find((track) => track.state === 'live' && track.here) ?? tracks.find(({ state }) => state === 'live') ?? tracks[0]).track;
  }
  if (chosen && !names.includes(chosen)) names.unshift(chosen);
  const select = at('track');
  if (names.join('\n') !== [...select.options].map(({ value }) => value).join('\n')) {
    select.replaceChildren(...names.map((name) => new Option(name, name)));
  }
  if (select.value !== chosen) select.value = chosen ?? '';
  select.hidden = names.length === 0;
}

function sum(found, offload) {
  const attached = found.nodes.filter((node) => node.attached).length;
  const depth = Math.max(0, ...found.nodes.map((node) => node.depth ?? 0));
  const parts = [`${attached} of ${found.nodes.length} attached`, `depth ${depth}`];
  const percent = (value) => `${value.toFixed(0)} %`;
  if (offload.measured_percent !== null) parts.push(`${percent(offload.measured_percent)} of the bytes forwarded by others`);
  else if (offload.intended_percent !== null) parts.push(`${percent(offload.intended_percent)} fed by others`);
  return parts.join(' · ');
}

async function readTree(self) {
  const track = chosen;
  let found = null;
  let told = '';
  if (track) {
    try {
      const [shown, offload] = await Promise.all([view(trackPath(track, 'tree')), view(trackPath(track, 'offload'))]);
      [found, told] = [shown, sum(shown, offload)];
    } catch (error) {
      if (error.code !== 'unknown_track') throw error;
      told = 'nobody publishes or follows it any more';
    }
  }
  if (track !== chosen) return;
  at('tree-sum').textContent = told;
  at('tree-none').hidden = Boolean(chosen);
  at('watch').disabled = !found;
  document.querySelector('.canvas').hidden = !found;
  if (!found) {
    tree.clear();
    return;
  }
  const moves = tree.show(found, self);
  for (const { node, from, to } of moves.slice(0, MOVES_TOLD)) {
    if (node.peer_id === self) continue; // told by an event of its own
    panes.note(`${nameOf(node)} moved to ${to ? nameOf(to) : 'another parent'}${from ? `, was below ${nameOf(from)}` : ''}`, '');
  }
  if (moves.length > MOVES_TOLD) panes.note(`${moves.length - MOVES_TOLD} more peers moved`, '');
}

async function readLibrary() {
  if (!library) return;
  try {
    const [offered, { jobs }] = await Promise.all([view('/v1/library'), view('/v1/library/jobs')]);
    panes.library(offered, jobs);
  } catch (error) {
    if (error.code !== 'no_library') throw error;
    library = false;
  }
}

async function read() {
  const [status, { peers }, { tracks }] = await Promise.all([view('/v1/status'), view('/v1/peers'), view('/v1/tracks')]);
  panes.status(status);
  panes.peers(peers);
  panes.tracks(tracks, rates.take(tracks, performance.now()));
  offer(tracks);
  await Promise.all([readTree(status.peer_id), readLibrary()]);
}

async function turn() {
  if (reading) {
    again = true;
    return;
  }
  reading = true;
  try {
    await read();
    well(true);
  } catch (error) {
    well(false, error.hint ? `${error.message}; ${error.hint}` : 'The node does not answer; trying again.');
  }
  reading = false;
  soon(again ? SOON_MS : EVERY_MS);
  again = false;
}

/** Reads after a delay, or earlier if that was due already. */
function soon(delay) {
  const wanted = performance.now() + delay;
  if (document.hidden || (timer && due <= wanted)) return;
  clearTimeout(timer);
  due = wanted;
  timer = setTimeout(() => {
    timer = 0;
    turn();
  }, delay);
}

function well(up, why = '') {
  at('dot').className = `dot ${up ? 'up' : 'down'}`;
  at('trouble').hidden = up;
  at('trouble').textContent = why;
}

at('track').addEventListener('change', (event) => choose(event.target.value));
at('watch').addEventListener('click', () => watch.open(chosen));
document.addEventListener('visibilitychange', () => soon(0));
follow((event) => {
  panes.event(event);
  soon(SOON_MS);
});
turn();
