/** Domain 0's services as a guest and as the toolstack meet them. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { XENSTORE_ERROR, XS } from "../../src/abi/io-xenstore.ts";
import { ConsoleLogReader } from "../../src/backends/console/log-reader.ts";
import { type DomainIntroduction, Services } from "../../src/backends/services.ts";
import { encodeMessage } from "../../src/xenstore/wire.ts";
import { GuestConsoleSide, GuestXenstore } from "./guest-side.ts";

const UUID = "11111111-2222-3333-4444-555555555555";
let dir: string;
let now: number;
let services: Services;
let events: string[];
let notes: [number, number][];
let log: string[];

function start(): void {
  services = new Services({
    notify: (domid, port) => events.push(`${domid}:${port}`),
    now: () => now,
    wallClock: () => 1795384281.2e9,
    consoleDir: dir,
    onConsole: (domid, end) => notes.push([domid, end]),
    log: (_, domid, text) => log.push(`${domid}: ${text}`),
  });
}

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "services-"));
  now = 0;
  events = [];
  notes = [];
  log = [];
  start();
});
afterEach(() => rmSync(dir, { recursive: true }));

interface TestGuest {
  readonly domid: number;
  readonly memory: WebAssembly.Memory;
  readonly xenstore: GuestXenstore;
  readonly console: GuestConsoleSide;
  ask(type: number, payload: string, txId?: number): string;
}

function guest(domid: number, change: Partial<DomainIntroduction> = {}): TestGuest {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  services.introduce({
    domid,
    uuid: UUID,
    name: "domu1",
    memory,
    memoryKiB: 262144,
    maxMemoryKiB: 262144,
    vcpus: 1,
    store: { byteOffset: 4096, port: 1 },
    storeMfn: 776193,
    console: { byteOffset: 8192, port: 2 },
    consoleMfn: 776194,
    ...change,
  });
  const xenstore = new GuestXenstore(memory.buffer, 4096);
  return {
    domid,
    memory,
    xenstore,
    console: new GuestConsoleSide(memory.buffer, 8192),
    ask: (type, payload, txId) => xenstore.ask(() => services.guestEvent(domid, 1), type, payload, txId),
  };
}

const logged = (uuid = UUID) => {
  const { start, bytes } = new ConsoleLogReader(dir).read(uuid, 0, 1 << 20);
  return [start, Buffer.from(bytes).toString("latin1")];
};

/** The store's content in the golden files' form, for the paths that are asked for. */
function tree(...roots: string[]): string[] {
  const lines: string[] = [];
  const descend = (path: string) => {
    const value = services.xenstore.read(path);
    if (value === undefined) return;
    lines.push(`${path} = "${value}"   (${services.xenstore.permissions(path)?.join(",")})`);
    for (const name of services.xenstore.list(path) ?? []) descend(`${path}/${name}`);
  };
  for (const root of roots) {
    if (!root.endsWith("/*")) descend(root);
    else for (const name of services.xenstore.list(root.slice(0, -2)) ?? []) descend(root.replace("*", name));
  }
  return lines;
}

describe("the nodes of a domain are those of a real Xen host", () => {
  const image = {
    kernel: "/mnt/vmlinuz-cloud",
    ramdisk: "/mnt/domu-initrd.img",
    cmdline: "console=hvc0 rdinit=/init panic=1 loglevel=8",
  };
  type Row = [string, number, string[], Partial<DomainIntroduction>];
  const goldens: Row[] = [
    ["xenstore-xen417-plain.txt", 40, ["/tool", "/local", "/vm", "/libxl"], { image }],
    [
      "xenstore-xen417-4vcpu.txt",
      2,
      ["/local/domain/2/*"],
      {
        vcpus: 4,
        name: "domu4",
        uuid: "11111111-2222-3333-4444-555555554444",
        memoryKiB: 524288,
        maxMemoryKiB: 524288,
      },
    ],
  ];

  /** What a golden line would be before the guest and xenconsoled wrote their parts. */
  const atStart = (line: string) =>
    line
      .replace(/(control\/feature-\w+) = "1"/, '$1 = ""')
      .replace(/console\/tty = ".*"/, 'console/tty = ""')
      .replace(/start_time = ".*"/, 'start_time = "1795384281.20"');

  test.each(goldens)("%s", (file, domid, roots, change) => {
    guest(domid, change);
    const golden = readFileSync(new URL(`../golden/${file}`, import.meta.url), "utf8")
      .split("\n")
      .filter((line) => line !== "" && !line.startsWith("/local/domain/0/control"))
      .map(atStart);
    const ours = tree(...roots);
    expect([...ours].sort()).toEqual([...golden].sort());
    // A guest sees its own names in the order in which libxl made them.
    const home = new RegExp(`^/local/domain/${domid}/[^/]+ `);
    expect(ours.filter((line) => home.test(line))).toEqual(golden.filter((line) => home.test(line)));
  });

  test("what it and Domain 0 wrote is there until it is suspended, and not when it comes back (xenstore-xen417-save-restore.txt)", () => {
    const text = readFileSync(new URL("../golden/xenstore-xen417-save-restore.txt", import.meta.url), "utf8");
    const [before, cancelled, after] = text
      .replace(/(?<=[/"]|[(,][nr])N(?=[/" ),])/g, "7")
      .split(/^## /m)
      .slice(1)
      .map((section) => section.trimEnd().split("\n").slice(1).map(atStart).sort());
    const ours = () =>
      tree("/local/domain/0/backend/console/7", "/local/domain/7", "/vm", "/libxl/7")
        .map((line) => line.replace(/ring-ref = ".*"/, 'ring-ref = "..."'))
        .sort();
    const facts = { name: "demo", memoryKiB: 32768, maxMemoryKiB: 32768 };
    const { ask } = guest(7, { ...facts, image: { kernel: "/mnt/demo.elf", cmdline: "" } });
    const nodes = [
      "data/mine|5",
      "data/deep/er|x",
      "attr/os|linux",
      "feature/f|1",
      "error/e|broken",
      "drivers/0|d",
      "control/sysrq|h",
    ];
    for (const node of nodes) expect(ask(XS.write, node)).toBe("OK|");
    services.xenstore.write("/local/domain/7/data/from-dom0", "1", ["n7"]);
    services.xenstore.write("/local/domain/7/mine-of-dom0", "1");
    services.xenstore.write(`/vm/${UUID}/note`, "1");
    expect(ours()).toEqual(before);
    services.stopped(7);
    services.freeze(7);
    services.thaw(7);
    expect(ours()).toEqual(cancelled);
    services.release(7);
    guest(7, facts);
    expect(ours()).toEqual(after);
  });

  test("a guest without a ramdisk, a name in UTF-8", () => {
    const { ask } = guest(3, { name: "café", image: { kernel: "k", cmdline: "" } });
    expect(ask(XS.directory, `/vm/${UUID}/image|`)).toBe("ostype|kernel|");
    expect(ask(XS.read, "name|")).toBe("caf\xc3\xa9");
  });
});

describe("xenstore for a guest", () => {
  test("answers at once what GRUB asks before it shows anything", () => {
    const { ask } = guest(7);
    expect(ask(XS.directory, "device/vbd|")).toBe("ENOENT");
    expect(ask(XS.read, "vm|")).toBe(`/vm/${UUID}`);
    expect(ask(XS.directory, "|")).toBe("EINVAL");
    expect(events).toContain("7:1");
  });

  test("a shutdown request reaches the guest's watch, and the guest takes note of it", () => {
    const domu = guest(7);
    domu.ask(XS.watch, "control/shutdown|sd|");
    domu.xenstore.received();
    events = [];
    expect(services.setShutdown(7, "poweroff")).toBe(true);
    expect(events).toEqual(["7:1"]);
    expect(domu.xenstore.received().map(({ payload }) => payload)).toEqual(["control/shutdown\0sd\0"]);
    const tx = Number(domu.ask(XS.transactionStart, "|").slice(0, -1));
    expect(domu.ask(XS.read, "control/shutdown|", tx)).toBe("poweroff");
    expect(domu.ask(XS.write, "control/shutdown|", tx)).toBe("OK|");
    expect(domu.ask(XS.transactionEnd, "T|", tx)).toBe("OK|");
    expect(services.xenstore.read("/local/domain/7/control/shutdown")).toBe("");
  });

  test("a shutdown node that the guest removed comes back as the guest's own", () => {
    const { ask } = guest(7);
    expect(ask(XS.rm, "control/shutdown|")).toBe("OK|");
    services.setShutdown(7, "reboot");
    expect(ask(XS.read, "control/shutdown|")).toBe("reboot");
    expect(ask(XS.write, "control/shutdown|")).toBe("OK|");
  });

  test("nobody is asked to shut down who is not there", () => {
    expect(services.setShutdown(9, "poweroff")).toBe(false);
  });

  test("Domain 0's watches hear a guest, and may answer it", () => {
    const domu = guest(7);
    services.xenstore.watch("/local/domain/7/data", (path) => {
      if (services.xenstore.read(path) === "ping") services.xenstore.write(path, "pong");
    });
    services.run();
    domu.ask(XS.watch, "data|t|");
    domu.ask(XS.write, "data/x|ping");
    expect(domu.ask(XS.read, "data/x|")).toBe("pong");
  });

  test("one guest's change is told to another that may see it", () => {
    const a = guest(7);
    const b = guest(8, { uuid: UUID.replace(/5$/, "6") });
    b.ask(XS.watch, "/local/domain/7/data|t|");
    b.xenstore.received();
    events = [];
    a.ask(XS.setPerms, "data|n7|r8|");
    expect(events).toContain("8:1");
    expect(b.xenstore.received().map(({ payload }) => payload)).toEqual(["/local/domain/7/data\0t\0"]);
  });

  test("a broken ring is stopped, told to the guest and logged once; others go on", () => {
    const bad = guest(7);
    const good = guest(8, { uuid: UUID.replace(/5$/, "6") });
    bad.xenstore.requests.producer[0] = 5000;
    for (let i = 0; i < 3; i++) services.guestEvent(7, 1);
    expect(bad.xenstore.error[0]).toBe(XENSTORE_ERROR.ringidx);
    expect(log).toEqual(["7: xenstore ring stopped: its indices make no sense"]);
    expect(good.ask(XS.read, "domid|")).toBe("8");
  });

  test("a guest that floods its ring leaves the rest of its requests for later", () => {
    const domu = guest(7);
    // Every reply is read at once, and every request replaced by another.
    const request = Buffer.from("0b0000000100000000000000010000002f", "hex");
    let turns = 0;
    const flood = () => {
      domu.xenstore.received();
      domu.xenstore.requests.put(Buffer.concat(Array.from({ length: 60 }, () => request)));
    };
    flood();
    for (; turns < 5; turns++) {
      services.guestEvent(7, 1);
      flood();
    }
    expect(services.run()).toBeGreaterThanOrEqual(0);
    expect(log).toEqual([]);
  });

  test("a reply longer than the ring reaches a guest that takes it without a word", () => {
    const domu = guest(7);
    domu.ask(XS.write, `data|${"v".repeat(2000)}`);
    domu.xenstore.requests.put(encodeMessage(XS.read, 77, 0, "data\0"));
    services.guestEvent(7, 1);
    let answers = domu.xenstore.received();
    for (let turns = 0; answers.length === 0; turns++) {
      expect(turns).toBeLessThan(5);
      now = services.run();
      services.run();
      answers = domu.xenstore.received();
    }
    expect(answers[0].payload).toBe("v".repeat(2000));
    expect(services.run()).toBe(Number.POSITIVE_INFINITY);
  });

  test("events of strangers and of strange ports are ignored", () => {
    guest(7);
    services.guestEvent(9, 1);
    services.guestEvent(7, 99);
    expect(log).toEqual([]);
  });
});

describe("the console", () => {
  test("output is logged and announced, and the guest's event is answered", () => {
    const domu = guest(7);
    domu.console.print("hello\n");
    services.guestEvent(7, 2);
    expect(logged()).toEqual([0, "hello\n"]);
    expect(notes).toEqual([[7, 6]]);
    expect(events).toEqual(["7:2"]);
  });

  test("what was printed before the introduction is not lost", () => {
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
    new GuestConsoleSide(memory.buffer, 8192).print("early");
    guest(7, { memory });
    expect(logged()).toEqual([0, "early"]);
  });

  test("announcements of much output are few, and the last is never left out", () => {
    const domu = guest(7);
    for (let i = 0; i < 1000; i++) {
      now += 1e5;
      domu.console.print("x");
      services.guestEvent(7, 2);
    }
    expect(notes.length).toBeLessThanOrEqual(6);
    const next = services.run();
    expect(next).toBeGreaterThan(now);
    now = next;
    // The log is synced a second after its first byte.
    expect(services.run()).toBe(1e9 + 1e5);
    expect(notes.at(-1)).toEqual([7, 1000]);
  });

  test("the log is on the disk a second later, and at once when that is asked for", async () => {
    const synced: string[] = [];
    services = new Services({
      notify: () => undefined,
      now: () => now,
      consoleDir: dir,
      onConsole: () => undefined,
      log: () => undefined,
      syncLog: async (path) => void synced.push(path.slice(dir.length)),
    });
    const domu = guest(7);
    const print = (text: string) => {
      domu.console.print(text);
      services.guestEvent(7, 2);
    };
    const segment = `/${UUID}/0000000000000000.log`;
    print("hello\n");
    now = services.run();
    expect([now, synced]).toEqual([1e9, []]);
    expect(services.run()).toBe(Number.POSITIVE_INFINITY);
    await services.syncLogs();
    expect(synced).toEqual(["", `/${UUID}`, segment]);
    print("again\n");
    await services.syncLogs(7);
    await services.syncLogs(9);
    expect(synced.slice(3)).toEqual([segment]);
  });

  test("a flood is slowed to the rate, without events, and all of it arrives", () => {
    services = new Services({
      notify: () => {},
      now: () => now,
      consoleDir: dir,
      onConsole: () => {},
      log: () => {},
      consoleRate: { bytesPerSecond: 1_000_000, burst: 10_000 },
    });
    const domu = guest(7);
    let printed = 0;
    let calls = 0;
    while (printed < 500_000) {
      const fitted = domu.console.print("z".repeat(2048));
      printed += fitted;
      services.guestEvent(7, 2);
      const next = services.run();
      if (fitted === 0) now = next;
      expect(calls++).toBeLessThan(10_000);
    }
    expect(now / 1e9).toBeGreaterThan(0.45);
    expect(now / 1e9).toBeLessThan(0.6);
    services.release(7);
    expect(new ConsoleLogReader(dir).read(UUID, 0, 0).end).toBe(printed);
  });

  test("typed bytes reach the guest with an event", () => {
    const domu = guest(7);
    expect(services.consoleInput(7, Buffer.from("help\r"))).toBe(5);
    expect(events).toEqual(["7:2"]);
    expect(domu.console.typed()).toBe("help\r");
    expect(services.consoleInput(9, Buffer.from("x"))).toBe(0);
  });

  test("input is carried on by time to a guest that reads without a word", () => {
    const domu = guest(7);
    expect(services.consoleInput(7, new Uint8Array(3000).fill(0x61))).toBe(3000);
    let typed = domu.console.typed();
    for (let turns = 0; typed.length < 3000; turns++) {
      expect(turns).toBeLessThan(5);
      now = services.run();
      services.run();
      typed += domu.console.typed();
    }
    expect(services.run()).toBe(Number.POSITIVE_INFINITY);
  });

  test("a broken console ring is stopped and logged once", () => {
    const domu = guest(7);
    domu.console.output.producer[0] = -9;
    for (let i = 0; i < 3; i++) services.guestEvent(7, 2);
    expect(log).toEqual(["7: console stopped: the output ring's indices claim more than it holds"]);
    expect(domu.ask(XS.read, "domid|")).toBe("7");
  });
});

describe("the life of a domain", () => {
  test("its last words are kept when it stops and when it goes", () => {
    const domu = guest(7);
    domu.console.print("stopping. ");
    services.stopped(7);
    domu.console.print("gone.");
    services.release(7);
    expect(logged()).toEqual([0, "stopping. gone."]);
    expect(notes.at(-1)).toEqual([7, 15]);
  });

  test("nothing of it is left in xenstore", () => {
    const before = tree("/tool", "/local", "/vm", "/libxl");
    const domu = guest(7);
    domu.ask(XS.write, "data/deep/er|v");
    services.xenstore.write("/local/domain/0/backend/vbd/7/51712", "");
    services.xenstore.remove("/local/domain/0/backend/vbd");
    services.release(7);
    services.release(7);
    expect(tree("/tool", "/local", "/vm", "/libxl")).toEqual(before);
    expect(services.run()).toBe(Number.POSITIVE_INFINITY);
  });

  test("its memory is not touched after it was released", () => {
    const domu = guest(7);
    services.release(7);
    const before = new Uint8Array(domu.memory.buffer).slice();
    domu.xenstore.requests.producer[0] = 16;
    domu.console.print("x");
    services.guestEvent(7, 1);
    services.guestEvent(7, 2);
    services.consoleInput(7, Buffer.from("a"));
    services.run();
    expect(domu.xenstore.requests.consumer[0]).toBe(0);
    expect(domu.console.output.consumer[0]).toBe(0);
    expect(before.subarray(0, 4096)).toEqual(new Uint8Array(domu.memory.buffer).slice(0, 4096));
  });

  test("while its memory is written to a file its rings are left alone; then it goes on", () => {
    const domu = guest(7);
    expect(domu.ask(XS.watch, "data|token|")).toBe("OK|");
    services.run();
    domu.xenstore.received();
    services.consoleInput(7, new Uint8Array(3000).fill(0x61));
    services.stopped(7);
    expect(services.freeze(7).length).toBe(3000 - 1024);
    const frozen = new Uint8Array(domu.memory.buffer).slice();
    expect(services.consoleInput(7, Buffer.from("b"))).toBe(0);
    services.xenstore.write("/local/domain/7/data/x", "");
    services.guestEvent(7, 1);
    services.guestEvent(7, 2);
    expect(services.run()).toBe(Number.POSITIVE_INFINITY);
    expect(new Uint8Array(domu.memory.buffer)).toEqual(frozen);
    services.thaw(7);
    expect(domu.xenstore.received().map(({ payload }) => payload)).toEqual(["data/x\0token\0"]);
    let typed = domu.console.typed();
    while (typed.length < 3000) {
      now = services.run();
      services.run();
      typed += domu.console.typed();
    }
    expect(typed).toBe("a".repeat(3000));
  });

  test("what was typed before it was suspended waits for it", () => {
    const domu = guest(7, { typed: new Uint8Array(2000).fill(0x62) });
    const first = domu.console.typed();
    now = services.run();
    services.run();
    expect(first + domu.console.typed()).toBe("b".repeat(2000));
  });

  test("those who watch are told that it came, stopped and went", () => {
    const seen: string[] = [];
    for (const name of ["@introduceDomain", "@releaseDomain"]) services.xenstore.watch(name, (path) => seen.push(path));
    services.run();
    seen.length = 0;
    guest(7);
    expect(seen).toEqual(["@introduceDomain"]);
    services.stopped(7);
    services.release(7);
    expect(seen).toEqual(["@introduceDomain", "@releaseDomain", "@releaseDomain"]);
  });

  test("its next boot has a new domid and goes on in the same log", () => {
    guest(7).console.print("first boot\n");
    services.release(7);
    const second = guest(8);
    second.console.print("second boot\n");
    services.guestEvent(8, 2);
    expect(logged()).toEqual([0, "first boot\nsecond boot\n"]);
    expect(notes.at(-1)).toEqual([8, 23]);
  });

  test("its next boot may come before the last one is gone", () => {
    guest(7);
    const second = guest(8);
    services.release(7);
    expect(second.ask(XS.read, `/vm/${UUID}/name|`)).toBe("domu1");
    second.console.print("still here");
    services.guestEvent(8, 2);
    expect(logged()).toEqual([0, "still here"]);
  });

  test("after a restart of the service the log goes on where it ended", () => {
    const domu = guest(7);
    domu.console.print("before. ");
    services.guestEvent(7, 2);
    start();
    guest(9).console.print("after.");
    services.guestEvent(9, 2);
    expect(logged()).toEqual([0, "before. after."]);
  });

  test("a domid that comes again sees nothing of its predecessor", () => {
    const other = guest(8, { uuid: UUID.replace(/5$/, "6") });
    guest(7);
    other.ask(XS.write, "data/for-seven|v");
    other.ask(XS.setPerms, "data/for-seven|n8|r7|");
    services.release(7);
    const again = guest(7);
    expect(again.ask(XS.read, "/local/domain/8/data/for-seven|")).toBe("EACCES");
  });

  test("rings that have moved are served where they are now; nodes stay, watches do not", () => {
    const domu = guest(7);
    domu.ask(XS.write, "data/kept|v");
    domu.ask(XS.watch, "data|t|");
    domu.console.print("old. ");
    services.guestEvent(7, 2);
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
    services.remap(7, {
      memory,
      store: { byteOffset: 12288, port: 5 },
      storeMfn: 99,
      console: { byteOffset: 16384, port: 6 },
      consoleMfn: 100,
    });
    const xenstore = new GuestXenstore(memory.buffer, 12288);
    const ask = (type: number, payload: string) => xenstore.ask(() => services.guestEvent(7, 5), type, payload);
    expect(ask(XS.read, "data/kept|")).toBe("v");
    expect(ask(XS.read, "store/ring-ref|")).toBe("99");
    expect(ask(XS.read, "console/port|")).toBe("6");
    expect(ask(XS.watch, "data|t|")).toBe("OK|");
    new GuestConsoleSide(memory.buffer, 16384).print("new.");
    services.guestEvent(7, 6);
    expect(logged()).toEqual([0, "old. new."]);
  });

  test("a domain is introduced once", () => {
    guest(7);
    expect(() => guest(7)).toThrow(/introduced already/);
  });
});
