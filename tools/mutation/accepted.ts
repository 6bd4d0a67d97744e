/** Why nothing is to be noticed, where it is the same for several. */
const NO_PORT_0 = "what is below 0 is an errno, and no port is 0";
const NO_FRAME_0 = "what is below 0 is an errno, and no frame is where the engine's own memory begins";
const SPEED = "where the search for a free port begins: it finds the same one from further below";

/** Mutants that no test is asked to notice, by their ids, each with the reason why there is nothing to notice. */
export const accepted: ReadonlyMap<string, string> = new Map([
  ["hypervisor/event-channel/event-channels.ts allocate: this.#lowestFree = port; -> ;", SPEED],
  ["hypervisor/event-channel/event-channels.ts allocate: this.#lowestFree = port + 1; -> ;", SPEED],
  ["hypervisor/event-channel/fifo-setup.ts initControl: < -> <=", NO_FRAME_0],
  ["hypervisor/event-channel/fifo-setup.ts expandArray: < -> <=", NO_FRAME_0],
  ["hypervisor/hypercall/event-channel-op.ts rows: < -> <=", NO_PORT_0],
  ["hypervisor/hypercall/event-channel-op.ts rows: < -> <= #4", NO_PORT_0],
  ["hypervisor/hypercall/event-channel-op.ts rows: < -> <= #5", NO_PORT_0],
]);
