/** vcsim as a child process, spoken to in its own protocol (SOAP over HTTP) with as little as a client can do. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { createInterface } from "node:readline";
import { Connection } from "./connection.ts";

const program = resolve(import.meta.dirname, "../../../.guests/peers/vcsim");

export class Vcsim {
  readonly #child: ChildProcess;
  readonly #origin: string;
  readonly #folder: string;
  readonly #pool: string;
  #cookie = "";

  private constructor(child: ChildProcess, said: { url: string; folder: string; pool: string }) {
    this.#child = child;
    this.#origin = new URL(said.url).origin;
    this.#folder = said.folder;
    this.#pool = said.pool;
  }

  /** Undefined where it was not built. */
  static async start(): Promise<Vcsim | undefined> {
    if (!existsSync(program)) return undefined;
    const child = spawn(program, [], { stdio: ["pipe", "pipe", "inherit"] });
    const [line] = await once(createInterface(child.stdout!), "line");
    const vcsim = new Vcsim(child, JSON.parse(line as string));
    const connection = vcsim.connect();
    await vcsim.#call(
      connection,
      `<Login xmlns="urn:vim25"><_this type="SessionManager">SessionManager</_this><userName>user</userName><password>pass</password></Login>`,
    );
    await connection.close();
    return vcsim;
  }

  get pid(): number {
    return this.#child.pid!;
  }

  connect(): Connection {
    return new Connection(this.#origin);
  }

  /** Defines a virtual machine; gives its reference. */
  create(connection: Connection, name: string): Promise<string> {
    return this.#task(
      connection,
      `<CreateVM_Task xmlns="urn:vim25"><_this type="Folder">${this.#folder}</_this><config><name>${name}</name><guestId>otherGuest</guestId><files><vmPathName>[LocalDS_0]</vmPathName></files><numCPUs>1</numCPUs><memoryMB>16</memoryMB></config><pool type="ResourcePool">${this.#pool}</pool></CreateVM_Task>`,
    );
  }

  async power(connection: Connection, machine: string, how: "On" | "Off"): Promise<void> {
    const call = `Power${how}VM_Task`;
    await this.#task(
      connection,
      `<${call} xmlns="urn:vim25"><_this type="VirtualMachine">${machine}</_this></${call}>`,
    );
  }

  /** Name, power state, and configuration of one machine. */
  async read(connection: Connection, machine: string): Promise<void> {
    const answer = await this.#properties(connection, `<obj type="VirtualMachine">${machine}</obj>`);
    if (!answer.includes("<name>runtime.powerState</name>")) throw new Error(`vcsim read nothing: ${answer}`);
  }

  /** The same of all of them. */
  async list(connection: Connection): Promise<number> {
    const view = await this.#call(
      connection,
      `<CreateContainerView xmlns="urn:vim25"><_this type="ViewManager">ViewManager</_this><container type="Folder">group-d1</container><type>VirtualMachine</type><recursive>true</recursive></CreateContainerView>`,
    );
    const id = /type="ContainerView"[^>]*>([^<]+)</.exec(view)![1]!;
    const answer = await this.#properties(
      connection,
      `<obj type="ContainerView">${id}</obj><skip>true</skip><selectSet xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="TraversalSpec"><type>ContainerView</type><path>view</path></selectSet>`,
    );
    return answer.split("<name>runtime.powerState</name>").length - 1;
  }

  async stop(): Promise<void> {
    const ended = once(this.#child, "exit");
    this.#child.stdin!.end();
    await ended;
  }

  #properties(connection: Connection, object: string): Promise<string> {
    return this.#retrieve(connection, "VirtualMachine", ["name", "runtime.powerState", "summary.config"], object);
  }

  #retrieve(connection: Connection, type: string, paths: readonly string[], object: string): Promise<string> {
    const set = paths.map((path) => `<pathSet>${path}</pathSet>`).join("");
    return this.#call(
      connection,
      `<RetrieveProperties xmlns="urn:vim25"><_this type="PropertyCollector">propertyCollector</_this><specSet><propSet><type>${type}</type>${set}</propSet><objectSet>${object}</objectSet></specSet></RetrieveProperties>`,
    );
  }

  /** A call that makes a task, and one that learns how it ended. */
  async #task(connection: Connection, call: string): Promise<string> {
    const task = /type="Task"[^>]*>([^<]+)</.exec(await this.#call(connection, call))![1]!;
    for (;;) {
      const info = await this.#retrieve(connection, "Task", ["info"], `<obj type="Task">${task}</obj>`);
      const state = /<state>(\w+)<\/state>/.exec(info)?.[1];
      if (state === "success") return /<result [^>]*type="VirtualMachine"[^>]*>([^<]+)</.exec(info)?.[1] ?? "";
      if (state === "error") throw new Error(`vcsim: ${info}`);
    }
  }

  async #call(connection: Connection, body: string): Promise<string> {
    const envelope = `<?xml version="1.0" encoding="UTF-8"?><Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"><Body>${body}</Body></Envelope>`;
    const headers = `Content-Type: text/xml; charset=utf-8\r\nSOAPAction: urn:vim25/6.5\r\n${this.#cookie}`;
    const { status, head, text } = await connection.ask("POST", "/sdk", headers, envelope);
    if (status !== 200) throw new Error(`vcsim: ${status} ${text}`);
    const set = /\r\nset-cookie: *([^;\r]+)/i.exec(head)?.[1];
    if (set !== undefined) this.#cookie = `Cookie: ${set}\r\n`;
    return text;
  }
}
