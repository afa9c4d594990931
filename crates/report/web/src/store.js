// What the reader has chosen, and who wants to know.

export class Store {
  #listeners = [];
  #pending = new Set();

  constructor(state) { this.state = state; }

  /** Calls `listener` with the state and the names that changed. */
  on(listener) { this.#listeners.push(listener); }

  /** Takes over what changed; listeners hear of it once, before the next frame is drawn. */
  set(patch) {
    for (const [name, value] of Object.entries(patch)) {
      if (Object.is(this.state[name], value)) continue;
      this.state[name] = value;
      if (this.#pending.size === 0) queueMicrotask(() => this.#tell());
      this.#pending.add(name);
    }
  }

  #tell() {
    const changed = this.#pending;
    this.#pending = new Set();
    this.#listeners.forEach(listener => listener(this.state, changed));
  }
}
