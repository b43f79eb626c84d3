// Watches a track where the browser can play it: fragmented MP4 and WebM through a media source, images one
// after the other, text as text.

import { element, rate, trackPath } from './node.js';

const QUEUE_BYTES_MAX = 16 * 1024 * 1024;
const OBJECT_BYTES_MAX = 16 * 1024 * 1024;
const KEEP_S = 20;
const BEHIND_S = 4;
const LINES_MAX = 200;

/** Cuts a body in length framing into objects: 8-byte id, 4-byte length, payload. */
async function* objects(body) {
  const reader = body.getReader();
  let held = new Uint8Array(0);
  try {
    for (;;) {
      while (held.length >= 12) {
        const length = new DataView(held.buffer, held.byteOffset).getUint32(8);
        if (length > OBJECT_BYTES_MAX) throw new Error('an object is too large');
        if (held.length < 12 + length) break;
        yield held.subarray(12, 12 + length);
        held = held.subarray(12 + length);
      }
      const { done, value } = await reader.read();
      if (done) return;
      held = joined(held, value);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function joined(a, b) {
  if (a.length === 0) return b;
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

const ascii = (data, at, length) => String.fromCharCode(...data.subarray(at, at + length));
const starts = (data, ...magic) => magic.every((byte, index) => data[index] === byte);

/** What a track carries, as its first object looks. */
export function kindOf(data) {
  if (starts(data, 0xff, 0xd8, 0xff)) return { show: 'image', type: 'image/jpeg', name: 'JPEG' };
  if (starts(data, 0x89, 0x50, 0x4e, 0x47)) return { show: 'image', type: 'image/png', name: 'PNG' };
  if (ascii(data, 0, 4) === 'RIFF' && ascii(data, 8, 4) === 'WEBP') return { show: 'image', type: 'image/webp', name: 'WebP' };
  if (starts(data, 0x1a, 0x45, 0xdf, 0xa3)) return { show: 'media', webm: true, name: 'WebM' };
  if (boxAt(data, 0)) return { show: 'media', name: 'fragmented MP4' };
  if (data[0] === 0x47 && (data.length < 189 || data[188] === 0x47)) return { show: 'ts', name: 'MPEG-TS' };
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(data);
    if (!/[\x00-\x08\x0e-\x1a\x1c-\x1f]/.test(text)) return { show: 'text', name: 'text' };
  } catch {
    // Not text.
  }
  return { show: 'other', name: 'data of a kind that a browser cannot show' };
}

const BOXES = ['ftyp', 'styp', 'moov', 'moof', 'mdat', 'sidx', 'emsg', 'prft', 'free'];
const boxAt = (data, at) => data.length >= at + 8 && BOXES.includes(ascii(data, at + 4, 4));

/** The codecs that the beginning of an MP4 names. */
export function codecs(moov) {
  const find = (name) => {
    for (let at = 4; at + 8 < moov.length; at += 1) if (ascii(moov, at, 4) === name) return at;
    return -1;
  };
  const found = [];
  const hex = (at) => [...moov.subarray(at, at + 3)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  const avc = find('avcC');
  if (avc >= 0) found.push(`avc1.${hex(avc + 5)}`);
  if (find('hvcC') >= 0) found.push('hvc1.1.6.L120.B0');
  if (find('av1C') >= 0) found.push('av01.0.08M.08');
  if (find('vpcC') >= 0) found.push('vp09.00.40.08');
  if (find('mp4a') >= 0) found.push('mp4a.40.2');
  if (find('Opus') >= 0) found.push('opus');
  return found.join(',');
}

/** The codecs that the beginning of a WebM names. */
export function webmCodecs(head) {
  const names = { V_VP8: 'vp8', V_VP9: 'vp9', V_AV1: 'av01.0.08M.08', A_OPUS: 'opus', A_VORBIS: 'vorbis' };
  const text = ascii(head.subarray(0, 4096), 0, 4096);
  return Object.keys(names).filter((name) => text.includes(name)).map((name) => names[name]).join(',');
}

/** Cuts a stream of MP4 into what a media source takes: first the beginning, then whole fragments. */
class Fragments {
  constructor() {
    this.held = new Uint8Array(0);
    this.start = null;
  }

  * push(data) {
    this.held = joined(this.held, data);
    if (this.held.length > QUEUE_BYTES_MAX) this.held = this.held.subarray(this.held.length);
    while (this.held.length >= 8) {
      if (!boxAt(this.held, 0)) {
        // Joined in the middle of a box: on to the next one.
        let at = 1;
        while (at + 8 <= this.held.length && !['moof', 'ftyp', 'styp'].includes(ascii(this.held, at + 4, 4))) at += 1;
        this.held = this.held.subarray(at);
        continue;
      }
      const view = new DataView(this.held.buffer, this.held.byteOffset);
      const short = view.getUint32(0);
      const size = short === 1 && this.held.length >= 16 ? Number(view.getBigUint64(8)) : short;
      if (size < 8 || size > QUEUE_BYTES_MAX) {
        this.held = this.held.subarray(8);
        continue;
      }
      if (this.held.length < size) return;
      const [box, kind] = [this.held.slice(0, size), ascii(this.held, 4, 4)];
      this.held = this.held.subarray(size);
      if (kind === 'ftyp') this.start = box;
      else if (kind === 'moov') yield { start: joined(this.start ?? new Uint8Array(0), box), codecs: codecs(box) };
      else yield { box };
    }
  }
}

/** A video that is fed from a stream and kept near its end. */
class Player {
  constructor(screen, trouble) {
    this.trouble = trouble;
    this.video = element('video', { controls: '', autoplay: '', playsinline: '' });
    this.video.muted = true; // or the browser would not start it by itself
    screen.replaceChildren(this.video);
    this.source = new MediaSource();
    this.url = URL.createObjectURL(this.source);
    this.video.src = this.url;
    this.opened = new Promise((open) => this.source.addEventListener('sourceopen', open, { once: true }));
    this.queue = [];
    this.queued = 0;
  }

  async begin(type, start) {
    await this.opened;
    if (this.buffer) return this.append(start);
    if (!MediaSource.isTypeSupported(type)) throw new Error(`this browser cannot play ${type}`);
    this.buffer = this.source.addSourceBuffer(type);
    this.buffer.addEventListener('updateend', () => this.next());
    return this.append(start);
  }

  append(data) {
    if (!this.buffer) return;
    this.queue.push(data);
    this.queued += data.length;
    while (this.queued > QUEUE_BYTES_MAX) this.queued -= this.queue.shift().length;
    this.next();
  }

  next() {
    const { buffer, video } = this;
    if (!buffer || buffer.updating || this.source.readyState !== 'open') return;
    const { buffered } = video;
    if (buffered.length) {
      const end = buffered.end(buffered.length - 1);
      if (video.currentTime < buffered.start(buffered.length - 1) || end - video.currentTime > BEHIND_S) {
        video.currentTime = Math.max(buffered.start(buffered.length - 1), end - 0.5);
      }
      if (end - buffered.start(0) > 2 * KEEP_S) {
        buffer.remove(0, end - KEEP_S);
        return;
      }
    }
    const data = this.queue.shift();
    if (!data) return;
    this.queued -= data.length;
    try {
      buffer.appendBuffer(data);
    } catch (error) {
      this.trouble(`the video cannot go on: ${error.message}`);
    }
  }

  close() {
    this.video.removeAttribute('src');
    this.video.load();
    URL.revokeObjectURL(this.url);
  }
}

export class Watch {
  constructor() {
    const at = (id) => document.getElementById(id);
    [this.root, this.title, this.sum, this.screen] = ['player', 'player-title', 'player-sum', 'screen'].map(at);
    at('player-close').addEventListener('click', () => this.close());
  }

  close() {
    this.stop?.abort();
    this.player?.close();
    if (this.image) URL.revokeObjectURL(this.image);
    [this.stop, this.player, this.image, this.total] = [null, null, null, 0];
    this.root.hidden = true;
    this.screen.replaceChildren();
  }

  async open(track) {
    this.close();
    this.stop = new AbortController();
    const { signal } = this.stop;
    this.root.hidden = false;
    this.title.textContent = `Watch ${track}`;
    this.sum.textContent = 'waiting for the first object';
    this.root.scrollIntoView({ block: 'nearest' });
    try {
      const response = await fetch(`${trackPath(track, 'subscribe')}?framing=length&from=oldest`, { signal });
      if (!response.ok) throw new Error((await response.json()).data.message);
      let take = null;
      for await (const object of objects(response.body)) {
        if (signal.aborted) return;
        if (object.length === 0) continue;
        take ??= this.begin(track, kindOf(object));
        if (!take) return;
        await take(object);
        this.count(object.length);
      }
      this.sum.textContent = 'the track has ended';
    } catch (error) {
      if (!signal.aborted) this.say(error.message);
    } finally {
      if (this.stop?.signal === signal) this.stop.abort();
    }
  }

  count(length) {
    const now = performance.now();
    this.total = (this.total ?? 0) + length;
    if (!(now - this.since < 1000)) {
      if (this.since) this.sum.textContent = `${this.kind} · ${rate(this.total / ((now - this.since) / 1000))}`;
      [this.since, this.total] = [now, 0];
    }
  }

  say(text, ...more) {
    this.screen.replaceChildren(element('p', {}, text, ...more));
  }

  /** What to do with each object; nothing if the track cannot be shown. */
  begin(track, kind) {
    [this.kind, this.since] = [kind.name, 0];
    this.sum.textContent = kind.name;
    if (kind.show === 'media') return this.media(kind);
    if (kind.show === 'image') return this.images(kind);
    if (kind.show === 'text') return this.text();
    const line = kind.show === 'ts' ? `banyan subscribe ${track} | ffplay -` : `banyan subscribe ${track}`;
    const why = kind.show === 'ts' ? 'A browser plays no MPEG-TS without converting it. On a machine of the mesh: '
      : 'This is data that a browser cannot show. On a machine of the mesh: ';
    this.say(why, element('code', {}, line));
    this.stop.abort();
    return null;
  }

  media(kind) {
    this.player = new Player(this.screen, (text) => this.say(text));
    const { player } = this;
    if (kind.webm) {
      let begun = false;
      return async (object) => {
        if (begun) return player.append(object.slice());
        begun = true;
        return player.begin(`video/webm; codecs="${webmCodecs(object)}"`, object.slice());
      };
    }
    const fragments = new Fragments();
    let begun = false;
    return async (object) => {
      for (const part of fragments.push(object)) {
        if (part.start) await player.begin(`video/mp4; codecs="${part.codecs}"`, part.start);
        else if (begun || player.buffer) player.append(part.box);
        else this.sum.textContent = 'waiting for the beginning of an MP4; the publisher sent it before the ring that is left';
        begun ||= Boolean(part.start);
      }
    };
  }

  images({ type }) {
    const image = element('img', { alt: 'The latest image of the track' });
    this.screen.replaceChildren(image);
    return (object) => {
      const before = this.image;
      this.image = URL.createObjectURL(new Blob([object], { type }));
      image.src = this.image;
      if (before) URL.revokeObjectURL(before);
    };
  }

  text() {
    const text = element('pre', { tabindex: '0' });
    this.screen.replaceChildren(text);
    const decoder = new TextDecoder();
    return (object) => {
      const low = text.scrollHeight - text.scrollTop - text.clientHeight < 30;
      text.append(`${decoder.decode(object).replace(/\n$/, '')}\n`);
      while (text.childNodes.length > LINES_MAX) text.firstChild.remove();
      if (low) text.scrollTop = text.scrollHeight;
    };
  }
}
