// Talks to the node that served this page.

/** The view of a route; throws what the node says is wrong. */
export async function view(path) {
  const response = await fetch(path, { headers: { accept: 'application/json' }, signal: AbortSignal.timeout(10000) });
  const { data } = await response.json();
  if (!response.ok) throw Object.assign(new Error(data.message), data);
  return data;
}

/** The path of a track's route. */
export const trackPath = (track, action) => `/v1/tracks/${encodeURIComponent(track)}/${action}`;

const KINDS = ['peer_joined', 'peer_suspected', 'peer_refuted', 'peer_lost', 'peer_left', 'misbehaved', 'link_up', 'link_down',
  'parent_changed', 'parent_lost', 'peer_lied', 'repaired', 'stuck', 'child_joined', 'child_left', 'origin_changed', 'gap',
  'bootstrap_failed', 'library_job', 'library_changed', 'user', 'missed'];

/** Calls `take` with every event from now on; the browser connects anew by itself. */
export function follow(take) {
  const source = new EventSource('/v1/events');
  for (const kind of KINDS) source.addEventListener(kind, (message) => take(JSON.parse(message.data).data));
}

export const shortId = (id) => (id.length > 8 ? id.slice(-8) : id);

export function bytes(count) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let unit = 0;
  for (; count >= 999.5 && unit < units.length - 1; unit += 1) count /= 1000;
  return `${unit === 0 || count >= 100 ? Math.round(count) : count.toPrecision(count >= 10 ? 3 : 2)} ${units[unit]}`;
}

export const rate = (count) => `${bytes(count)}/s`;

export function duration(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds / 60) % 60} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor(seconds / 3600) % 24} h`;
}

/** An element with text or children; text never becomes markup. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}
