/**
 * Channel 2 of the PC's timer (8254), as far as kernels use it to calibrate other clocks: ports 0x42 (count), 0x43 (mode) and
 * 0x61 (gate and output). It counts down at 1.193182 MHz of system time while its gate is open.
 */
const FREQUENCY = 1_193_182;
const SECOND = 1_000_000_000;

const GATE = 1;
const SPEAKER = 2;
const OUTPUT = 0x20;

export class Pit {
  /** Initial count, 1 to 65536. */
  #initial = 0x1_0000;
  #loadedAt = 0;
  #mode = 0;
  #gate = 0;
  /** Low byte, high byte, or both in turn. */
  #access: "low" | "high" | "both" = "both";
  #writeHigh = false;
  #readHigh = false;
  #low = 0;
  #latch: number | null = null;

  read(port: number, now: number): number {
    if (port === 0x43) return 0xff;
    if (port === 0x61) return this.#gate | (this.#expired(now) ? OUTPUT : 0);
    const count = this.#latch ?? this.#count(now);
    const high = this.#access === "high" || (this.#access === "both" && this.#readHigh);
    if (this.#access === "both") this.#readHigh = !this.#readHigh;
    if (this.#access !== "both" || high) this.#latch = null;
    return high ? count >> 8 : count & 0xff;
  }

  write(port: number, value: number, now: number): void {
    if (port === 0x61) {
      if ((value & GATE) !== 0 && (this.#gate & GATE) === 0) this.#loadedAt = now;
      this.#gate = value & (GATE | SPEAKER);
    } else if (port === 0x43) {
      if (value >> 6 === 2) this.#command(value, now);
    } else {
      this.#load(value, now);
    }
  }

  #command(value: number, now: number): void {
    const access = (value >> 4) & 3;
    if (access === 0) {
      this.#latch ??= this.#count(now);
      return;
    }
    this.#access = access === 1 ? "low" : access === 2 ? "high" : "both";
    this.#mode = (value >> 1) & 7;
    this.#writeHigh = false;
    this.#readHigh = false;
    this.#latch = null;
  }

  #load(value: number, now: number): void {
    let initial: number;
    if (this.#access === "low") initial = value;
    else if (this.#access === "high") initial = value << 8;
    else if (!this.#writeHigh) {
      this.#low = value;
      this.#writeHigh = true;
      return;
    } else {
      this.#writeHigh = false;
      initial = this.#low | (value << 8);
    }
    this.#initial = initial === 0 ? 0x1_0000 : initial;
    this.#loadedAt = now;
  }

  #ticks(now: number): number {
    return (this.#gate & GATE) === 0 ? 0 : Math.floor(((now - this.#loadedAt) * FREQUENCY) / SECOND);
  }

  /** Mode 0 counts on below zero; the periodic modes start over. */
  #count(now: number): number {
    const ticks = this.#ticks(now);
    if (this.#mode === 2 || this.#mode === 3) return (this.#initial - (ticks % this.#initial)) & 0xffff;
    return (this.#initial - (ticks % 0x1_0000) + 0x1_0000) & 0xffff;
  }

  #expired(now: number): boolean {
    const ticks = this.#ticks(now);
    if (this.#mode === 3) return ticks % this.#initial < this.#initial / 2;
    return ticks >= this.#initial;
  }
}
