// Tables and the feed of events.

import { bytes, duration, element, rate, shortId } from './node.js';

const EVENTS_MAX = 300;
const TITLES_MAX = 500;

/** Keeps the rows of a table in step with items, touching only what has changed. */
class Table {
  constructor(body, key, cells) {
    Object.assign(this, { body, key, cells, rows: new Map() });
  }

  show(items) {
    const rows = new Map();
    for (const item of items) {
      const key = this.key(item);
      const cells = this.cells(item);
      const row = this.rows.get(key) ?? { root: element('tr'), told: [] };
      cells.forEach(([content, kind = ''], index) => {
        const text = typeof content === 'string' ? content : content.textContent;
        if (row.told[index] === `${kind}|${text}`) return;
        row.told[index] = `${kind}|${text}`;
        const cell = element('td', kind ? { class: kind } : {}, content);
        cell.title = text;
        if (row.root.children[index]) row.root.children[index].replaceWith(cell);
        else row.root.append(cell);
      });
      rows.set(key, row);
    }
    this.rows = rows;
    const wanted = [...rows.values()].map((row) => row.root);
    if (wanted.length !== this.body.children.length || wanted.some((row, index) => this.body.children[index] !== row)) {
      this.body.replaceChildren(...wanted);
    }
  }
}

const STATES = { alive: 'good', live: 'good', suspect: 'warn', waiting: 'warn', dead: 'bad', left: 'dim', ended: 'dim' };
const count = (number, one, many) => `${number} ${number === 1 ? one : many}`;

export class Panes {
  constructor(choose) {
    const at = (id) => document.getElementById(id);
    this.at = at;
    const button = (track) => {
      const made = element('button', { type: 'button', 'data-track': track }, track);
      made.addEventListener('click', () => choose(track));
      return made;
    };
    this.tracksTable = new Table(at('tracks'), (track) => track.track,
      ({ track, state, members, here, rates }) => [
        [button(track)], [state, STATES[state] ?? ''], [`${members}`, 'n'],
        [here ? (here.role === here.state ? here.role : `${here.role}, ${here.state}`) : '–', here ? '' : 'dim'],
        [rates ? rate(rates.bytes) : '', 'n'], [rates ? rate(rates.sent_bytes) : '', 'n'],
        [here ? `${here.missing}` : '', here?.missing ? 'n warn' : 'n dim'],
      ]);
    this.peersTable = new Table(at('peers'), (peer) => peer.peer_id,
      (peer) => [
        [peer.label ?? shortId(peer.peer_id), peer.label ? '' : 'mono'], [peer.state, STATES[peer.state] ?? ''],
        [`${peer.capacity - peer.slots_free} of ${peer.capacity}`, 'n'],
        [peer.rtt_ms === null ? '' : `${peer.rtt_ms.toFixed(1)} ms`, 'n'],
        [peer.addresses[0] ?? '', 'mono dim'],
      ]);
    this.titlesTable = new Table(at('titles'), (title) => `${title.name} ${title.version}`,
      (title) => [[title.name], [title.version], [bytes(title.bytes), 'n'], [`${title.peers}`, 'n'], [title.here ?? '', 'good']]);
    this.filter = at('peers-filter');
    this.filter.addEventListener('input', () => this.peersView && this.peers(this.peersView));
    this.names = new Map();
    this.seen = 0;
  }

  nameOf(id) {
    return this.names.get(id) ?? shortId(id);
  }

  status(status) {
    const label = status.label ?? shortId(status.peer_id);
    this.names.set(status.peer_id, label);
    this.at('name').textContent = label;
    document.title = `${label} – Banyan`;
    const facts = { mesh: status.mesh, peers: status.peers, links: status.links,
      slots: `${status.capacity - status.slots_free} of ${status.capacity} used`, up: duration(status.uptime_s),
      version: status.version };
    this.at('facts').replaceChildren(...Object.entries(facts).map(([name, value]) =>
      element('div', {}, element('dt', {}, name), element('dd', {}, `${value}`))));
  }

  tracks(tracks, rates) {
    this.at('tracks-sum').textContent = tracks.length ? `${tracks.length}` : 'none';
    this.tracksTable.show(tracks.map((track) => ({ ...track, rates: rates.get(track.track) })));
  }

  peers(peers) {
    this.peersView = peers;
    for (const peer of peers) this.names.set(peer.peer_id, peer.label ?? shortId(peer.peer_id));
    const states = new Map();
    for (const { state } of peers) states.set(state, (states.get(state) ?? 0) + 1);
    this.at('peers-sum').textContent = [...states].map(([state, number]) => `${number} ${state}`).join(' · ') || 'alone so far';
    const wanted = this.filter.value.trim().toLowerCase();
    const text = (peer) => [peer.label, peer.peer_id, peer.state, ...peer.addresses].join(' ').toLowerCase();
    const rank = { suspect: 0, alive: 1, dead: 2, left: 3 };
    const compare = new Intl.Collator('en', { numeric: true }).compare;
    const shown = peers.filter((peer) => text(peer).includes(wanted)).sort((a, b) =>
      (rank[a.state] ?? 4) - (rank[b.state] ?? 4) || compare(this.nameOf(a.peer_id), this.nameOf(b.peer_id)));
    this.peersTable.show(shown);
  }

  library(library, jobs) {
    document.querySelector('.library').hidden = false;
    const titles = library.titles.flatMap(({ name, versions }) => versions.map((version) =>
      ({ ...version, name, peers: version.peers.length })));
    this.at('library-sum').textContent = count(titles.length, 'package', 'packages');
    this.titlesTable.show(titles.slice(0, TITLES_MAX));
    const now = jobs.filter((job) => ['running', 'waiting'].includes(job.state));
    this.at('jobs').replaceChildren(...now.map((job) => element('li', {},
      element('span', {}, `${job.kind} ${job.name}`),
      element('span', { class: 'dim' }, job.state === 'running' ? `${job.phase}, ${rate(job.rate)}` : job.state),
      element('progress', { max: `${job.bytes_total || 1}`, value: `${job.bytes}`, 'aria-label': `${job.kind} ${job.name}` }))));
  }

  event({ event, ...facts }) {
    const [text, kind] = this.sentence(event, facts);
    this.note(text, kind);
  }

  /** Adds a line to the feed. */
  note(text, kind = '') {
    const list = this.at('events');
    const time = element('time', {}, new Date().toLocaleTimeString([], { hour12: false }));
    list.prepend(element('li', { class: kind }, time, element('span', {}, text)));
    while (list.children.length > EVENTS_MAX) list.lastChild.remove();
    this.seen += 1;
    this.at('events-sum').textContent = `${this.seen} since this page was opened`;
  }

  sentence(event, facts) {
    const peer = facts.peer_id && this.nameOf(facts.peer_id);
    const ms = (value) => `${value >= 10 ? Math.round(value) : value.toFixed(1)} ms`;
    const told = {
      peer_joined: () => [`${facts.label ?? peer} joined`, 'good'],
      peer_suspected: () => [`${peer} is suspected of being gone`, 'warn'],
      peer_refuted: () => [`${peer} is there after all`, ''],
      peer_lost: () => [`${peer} is gone`, 'bad'],
      peer_left: () => [`${peer} left`, ''],
      misbehaved: () => [`${peer} misbehaves: ${facts.reason}`, 'bad'],
      link_up: () => [`link to ${peer} is up`, ''],
      link_down: () => [`link to ${peer} is down: ${facts.reason}`, ''],
      parent_changed: () => [`${facts.track}: fed by ${this.nameOf(facts.to)} at depth ${facts.depth} (${facts.reason})`, 'good'],
      parent_lost: () => [`${facts.track}: parent ${peer} is lost: ${facts.reason}`, 'bad'],
      peer_lied: () => [`${facts.track}: ${peer} passes on what the origin has not signed, and is left`, 'bad'],
      repaired: () => [`${facts.track}: repaired, objects flow again after ${ms(facts.gap_ms)} (${facts.reason})`, 'good'],
      stuck: () => [`${facts.track}: no parent: ${facts.reason}`, 'bad'],
      child_joined: () => [`${facts.track}: feeds ${peer}`, ''],
      child_left: () => [`${facts.track}: feeds ${peer} no more: ${facts.reason}`, ''],
      origin_changed: () => [`${facts.track}: published by ${this.nameOf(facts.origin)}`, ''],
      gap: () => [`${facts.track}: ${facts.to - facts.from} objects are missing, from ${facts.from}`, 'bad'],
      bootstrap_failed: () => [`cannot reach ${facts.address}: ${facts.reason}`, 'warn'],
      library_job: () => [`${facts.kind} ${facts.name}: ${facts.state}, ${facts.phase}`, ''],
      user: () => [`${facts.name}${facts.payload ? `: ${facts.payload}` : ''}`, ''],
      library_changed: () => [`the mesh offers ${count(facts.packages, 'package', 'packages')}`, ''],
      missed: () => [`${facts.events} events were missed here`, 'warn'],
    };
    return (told[event] ?? (() => [event, '']))();
  }
}
