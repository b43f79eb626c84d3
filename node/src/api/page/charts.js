// Small charts of the last two minutes.

import { element, rate } from './node.js';

const POINTS = 120;
const EVERY_MS = 900;
const [WIDTH, HEIGHT] = [120, 38];

class Chart {
  constructor(what, show) {
    this.values = [];
    this.show = show;
    this.now = element('div', { class: 'now' }, '–');
    this.most = element('span', { class: 'most' });
    this.svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    this.svg.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
    this.svg.setAttribute('preserveAspectRatio', 'none');
    this.svg.setAttribute('aria-hidden', 'true');
    [this.area, this.line] = ['area', 'line'].map((kind) => {
      const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
      path.setAttribute('class', kind);
      this.svg.append(path);
      return path;
    });
    this.root = element('div', { class: 'chart' }, this.most, element('div', { class: 'what' }, what), this.now, this.svg);
  }

  add(value) {
    this.values.push(value);
    if (this.values.length > POINTS) this.values.shift();
    const most = Math.max(...this.values);
    this.now.textContent = this.show(value);
    this.most.textContent = most > 0 ? `max ${this.show(most)}` : '';
    const step = WIDTH / (POINTS - 1);
    const left = WIDTH - (this.values.length - 1) * step;
    const points = this.values.map((value, index) => {
      const y = HEIGHT - 1 - (most > 0 ? (value / most) * (HEIGHT - 3) : 0);
      return `${(left + index * step).toFixed(1)} ${y.toFixed(1)}`;
    });
    this.line.setAttribute('d', `M${points.join('L')}`);
    this.area.setAttribute('d', `M${left.toFixed(1)} ${HEIGHT}L${points.join('L')}L${WIDTH} ${HEIGHT}Z`);
  }
}

/** Rates of this node over all its tracks, from counters that are read again and again. */
export class Rates {
  constructor(place) {
    const objects = (value) => `${value >= 10 ? Math.round(value) : value.toFixed(1)}/s`;
    this.charts = {
      bytes: new Chart('received', rate),
      sent_bytes: new Chart('sent', rate),
      objects: new Chart('objects in', objects),
      sent_objects: new Chart('objects out', objects),
    };
    this.before = new Map();
    place.append(...Object.values(this.charts).map((chart) => chart.root));
  }

  /** Rates of each track since the time before, which is about a second ago. */
  take(tracks, now) {
    if (now - this.at < EVERY_MS) return this.rates;
    const rates = new Map();
    const sums = { bytes: 0, sent_bytes: 0, objects: 0, sent_objects: 0 };
    const seen = new Map();
    for (const { track, epoch, here } of tracks) {
      if (!here) continue;
      const before = this.before.get(track);
      const known = before && before.epoch === epoch && now > this.at;
      const own = {};
      for (const key of Object.keys(sums)) {
        own[key] = known ? Math.max(0, here[key] - before.here[key]) / ((now - this.at) / 1000) : 0;
        sums[key] += own[key];
      }
      rates.set(track, own);
      seen.set(track, { epoch, here });
    }
    const first = this.at === undefined;
    [this.before, this.at, this.rates] = [seen, now, rates];
    if (!first) for (const [key, chart] of Object.entries(this.charts)) chart.add(sums[key]);
    return rates;
  }
}
