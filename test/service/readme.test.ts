/**
 * What README.md says to type is typed, in a shell, to a real service, and must print what README.md says: `sh` blocks with curl
 * are run in order, and the `text` block that follows is what they print. `...` stands for anything; what differs from run to run
 * (uuids, times) is not compared. A block that only reads is asked again until it prints that.
 */

import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, symlinkSync } from "node:fs";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, type TestContext, test } from "vitest";
import { grubImage } from "../guests/grub-image.ts";
import { debianPath } from "../guests/linux-golden.ts";
import { scratchFolder, until, WholeService } from "./whole-service.ts";

const README = readFileSync(resolve(import.meta.dirname, "../../README.md"), "utf8");
const README_URL = "http://127.0.0.1:8006";

interface Step {
  readonly commands: string;
  /** Undefined where README.md shows no output. */
  readonly output: string | undefined;
}

function stepsOf(title: string): Step[] {
  const section = README.split(/^##+ /m).find((text) => text.startsWith(title)) ?? "";
  const blocks = [...section.matchAll(/^```(sh|text)\n([\s\S]*?)^```/gm)].map(([, kind, text]) => ({ kind, text }));
  return blocks.flatMap(({ kind, text }, index) => {
    if (kind !== "sh" || !/curl|\$\(/.test(text)) return [];
    const next = blocks[index + 1];
    return [{ commands: text, output: next?.kind === "text" ? next.text : undefined }];
  });
}

const CURSOR = new RegExp(`${String.fromCharCode(27)}\\[[0-9;?]*[A-Za-z]`, "g");

/** Text as a terminal shows it, without what differs from run to run. */
function steady(text: string): string {
  return text
    .replace(CURSOR, "")
    .replaceAll("\r", "")
    .replace(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, "UUID")
    .replace(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC/g, "DATE")
    .replace(/"domid":\d+/g, '"domid":N')
    .replace(/\bdomain {4}\d+/g, "domain    N")
    .trim();
}

/** A pattern in which `...` stands for anything. */
function shape(text: string): RegExp {
  const parts = steady(text).split(/\n?\.\.\.\n?/);
  return new RegExp(`^${parts.map((part) => part.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&")).join("[\\s\\S]*?")}$`);
}

const scratch = scratchFolder();
let service: WholeService | undefined;
afterAll(async () => {
  await service?.end();
  scratch.remove();
});

/** One shell for one section: variables live on in it. */
class Shell {
  readonly #child = spawn("bash", ["--noprofile", "--norc"], { cwd: scratch.folder, stdio: ["pipe", "pipe", "pipe"] });
  readonly #url: string;
  #printed = "";

  constructor(url: string) {
    this.#url = url;
    for (const stream of [this.#child.stdout, this.#child.stderr])
      stream.on("data", (text) => {
        this.#printed += text;
      });
  }

  async run(commands: string): Promise<string> {
    this.#printed = "";
    const end = "--- end of step ---";
    this.#child.stdin.write(`${commands.replaceAll(README_URL, this.#url)}echo; echo '${end}'\n`);
    await until(`the end of: ${commands}`, () => this.#printed.endsWith(`${end}\n`));
    return this.#printed.slice(0, -end.length - 1).replaceAll(this.#url, README_URL);
  }

  close(): void {
    this.#child.stdin.end();
  }
}

async function follow(shell: Shell, steps: readonly Step[]): Promise<void> {
  for (const { commands, output } of steps) {
    if (commands.includes("follow=true")) continue;
    let printed = await shell.run(commands);
    if (output === undefined) continue;
    const wanted = shape(output);
    const reads = !/-X|--json|--data-binary/.test(commands);
    if (reads)
      await until(
        () => `${commands} to print\n${output}\nand not\n${steady(printed)}`,
        async () => {
          const so = wanted.test(steady(printed));
          if (so) return true;
          // A guest that boots needs the processor more than the question does.
          await sleep(100);
          printed = await shell.run(commands);
          return false;
        },
      );
    expect(steady(printed), commands).toMatch(wanted);
  }
}

/** The commands need curl's --json. */
function needsCurl(context: TestContext): void {
  const { stdout } = spawnSync("curl", ["--version"], { encoding: "utf8" });
  const [, major, minor] = /^curl (\d+)\.(\d+)/.exec(stdout ?? "") ?? [];
  if (Number(major) * 100 + Number(minor) >= 782) return;
  if (process.env.CI) throw new Error("curl 7.82 or newer is not here");
  context.skip("curl 7.82 or newer is not here");
}

test("npm start: what it prints", async () => {
  service = await WholeService.start(scratch.stateDir);
  const shown = /^Then it says[\s\S]*?^```text\n([\s\S]*?)^```/m.exec(README.replace("it needs. Then it", "\nThen it"));
  const wanted = (shown?.[1] ?? "").replaceAll("/home/you/domzero", scratch.folder);
  expect(service.out.replaceAll(service.url, README_URL)).toBe(wanted);
});

test("a guest", async (context) => {
  needsCurl(context);
  const shell = new Shell(service!.url);
  const steps = stepsOf("A guest\n");
  expect(steps.length).toBeGreaterThan(8);
  await follow(shell, steps);
  shell.close();
});

test("access", async (context) => {
  needsCurl(context);
  const shell = new Shell(service!.url);
  await shell.run(stepsOf("A guest\n")[0].commands.replace(/^curl.*\n/m, ""));
  const steps = stepsOf("Access");
  expect(steps.length).toBe(4);
  await follow(shell, steps);
  expect(await shell.run('curl -sS -H "$ci" $url/domains\n')).toContain('"status":401');
  shell.close();
});

test("Debian's stock Linux", async (context) => {
  needsCurl(context);
  const shell = new Shell(service!.url);
  mkdirSync(join(scratch.folder, ".guests"), { recursive: true });
  for (const name of ["vmlinuz-cloud-amd64", "initramfs.img"] as const) {
    symlinkSync(debianPath(name, context), join(scratch.folder, ".guests", name));
  }
  await shell.run(stepsOf("A guest\n")[0].commands.replace(/^curl.*\n/m, ""));
  await follow(shell, stepsOf("Debian's stock Linux"));
  shell.close();
}, 180_000);

test("a guest that nobody here wrote, and the service stopped and started again", async (context) => {
  needsCurl(context);
  const image = grubImage(context);
  mkdirSync(join(scratch.folder, ".guests"), { recursive: true });
  symlinkSync(image, join(scratch.folder, ".guests/grub-x86_64-xen.bin"));
  const preamble = stepsOf("A guest\n")[0].commands.replace(/^curl.*\n/m, "");
  const shell = new Shell(service!.url);
  await shell.run(preamble);
  await follow(shell, stepsOf("A guest that nobody here wrote"));

  const { port, stateDir } = service!;
  await service!.end("SIGINT");
  expect(service!.exitCode).toBe(0);
  service = await WholeService.start(stateDir, port);
  const steps = stepsOf("Stopping and starting again");
  expect(steps.length).toBe(1);
  await follow(shell, steps);
  shell.close();
});
