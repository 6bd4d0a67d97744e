/**
 * The nodes that a domain finds in xenstore: what libxl makes for a PV domain without devices, with the same owners.
 *
 * In the table, `shown` nodes belong to Domain 0 and the guest may read them; `given` ones belong to the guest; `hidden` ones are
 * Domain 0's alone; `connected` is the guest's own, readable for Domain 0.
 */
import type { LocalView } from "../xenstore/local-client.ts";

/** What the nodes say. */
export interface DomainFacts {
  readonly domid: number;
  readonly uuid: string;
  readonly name: string;
  readonly memoryKiB: number;
  readonly maxMemoryKiB: number;
  readonly vcpus: number;
  readonly storePort: number;
  readonly storeMfn: number;
  readonly consolePort: number;
  readonly consoleMfn: number;
  /** Names of what it boots, as a guest may see them: no paths of the host. Xen knows none of a domain that comes back from a file. */
  readonly image: { readonly kernel: string; readonly ramdisk?: string; readonly cmdline: string } | undefined;
  /** Seconds since 1970. */
  readonly startTime: number | undefined;
}

/** Bytes of console output that a domain may see named as kept. */
const CONSOLE_LIMIT = 1024 * 1024;

type Rights = "shown" | "given" | "hidden" | "connected";
type Row = readonly [path: string, value: string, rights: Rights];

const permissionsOf = (rights: Rights, domid: number): string[] => {
  switch (rights) {
    case "shown":
      return ["n0", `r${domid}`];
    case "given":
      return [`n${domid}`];
    case "hidden":
      return ["n0"];
    case "connected":
      return [`n${domid}`, "r0"];
  }
};

function homeRows(facts: DomainFacts, home: string, backend: string): Row[] {
  const cpus = Array.from({ length: facts.vcpus }, (_, cpu): Row[] => [
    [`${home}/cpu/${cpu}`, "", "shown"],
    [`${home}/cpu/${cpu}/availability`, "online", "shown"],
  ]);
  return [
    [home, "", "shown"],
    [`${home}/vm`, `/vm/${facts.uuid}`, "shown"],
    [`${home}/name`, facts.name, "shown"],
    [`${home}/cpu`, "", "shown"],
    ...cpus.flat(),
    [`${home}/memory`, "", "shown"],
    [`${home}/memory/static-max`, String(facts.maxMemoryKiB), "shown"],
    [`${home}/memory/target`, String(facts.memoryKiB), "shown"],
    [`${home}/memory/videoram`, "0", "shown"],
    [`${home}/device`, "", "shown"],
    [`${home}/device/suspend`, "", "shown"],
    [`${home}/device/suspend/event-channel`, "", "given"],
    [`${home}/control`, "", "shown"],
    [`${home}/control/shutdown`, "", "given"],
    [`${home}/control/feature-poweroff`, "", "given"],
    [`${home}/control/feature-reboot`, "", "given"],
    [`${home}/control/feature-suspend`, "", "given"],
    [`${home}/control/sysrq`, "", "given"],
    [`${home}/control/platform-feature-multiprocessor-suspend`, "1", "shown"],
    [`${home}/control/platform-feature-xs_reset_watches`, "1", "shown"],
    [`${home}/data`, "", "given"],
    [`${home}/drivers`, "", "given"],
    [`${home}/feature`, "", "given"],
    [`${home}/attr`, "", "given"],
    [`${home}/error`, "", "given"],
    [`${home}/domid`, String(facts.domid), "shown"],
    [`${home}/store`, "", "shown"],
    [`${home}/console`, "", "shown"],
    [`${home}/console/backend`, backend, "shown"],
    [`${home}/console/backend-id`, "0", "connected"],
    [`${home}/console/limit`, String(CONSOLE_LIMIT), "shown"],
    [`${home}/console/type`, "xenconsoled", "shown"],
    [`${home}/console/output`, "pty", "shown"],
    [`${home}/console/tty`, "", "shown"],
    ...ringRows(facts, home),
  ];
}

/** Where the rings are: what changes when they are put elsewhere. */
function ringRows(
  facts: Pick<DomainFacts, "storePort" | "storeMfn" | "consolePort" | "consoleMfn">,
  home: string,
): Row[] {
  return [
    [`${home}/store/port`, String(facts.storePort), "shown"],
    [`${home}/store/ring-ref`, String(facts.storeMfn), "shown"],
    [`${home}/console/port`, String(facts.consolePort), "shown"],
    [`${home}/console/ring-ref`, String(facts.consoleMfn), "shown"],
  ];
}

function consoleRows({ domid }: DomainFacts, home: string, backend: string): Row[] {
  const shared = (at: string, rights: Rights): Row[] => [
    [`${at}/frontend`, `${home}/console`, rights],
    [`${at}/frontend-id`, String(domid), rights],
    [`${at}/online`, "1", rights],
    [`${at}/state`, "1", rights],
    [`${at}/protocol`, "vt100", rights],
  ];
  const libxl = `/libxl/${domid}`;
  return [
    [`/local/domain/0/backend/console/${domid}`, "", "hidden"],
    [backend, "", "shown"],
    ...shared(backend, "shown"),
    [libxl, "", "hidden"],
    [`${libxl}/device`, "", "hidden"],
    [`${libxl}/device/console`, "", "hidden"],
    [`${libxl}/device/console/0`, "", "hidden"],
    [`${libxl}/device/console/0/backend`, backend, "hidden"],
    ...shared(`${libxl}/device/console/0`, "hidden"),
    [`${libxl}/type`, "pv", "hidden"],
    [`${libxl}/dm-version`, "qemu_xen", "hidden"],
  ];
}

function vmRows(facts: DomainFacts): Row[] {
  const vm = `/vm/${facts.uuid}`;
  const rows: Row[] = [
    [vm, "", "shown"],
    [`${vm}/name`, facts.name, "shown"],
    [`${vm}/uuid`, facts.uuid, "shown"],
  ];
  rows.push([`${vm}/image`, "", "shown"], [`${vm}/image/ostype`, "linux", "shown"]);
  if (facts.image !== undefined) {
    const { kernel, ramdisk, cmdline } = facts.image;
    rows.push([`${vm}/image/kernel`, kernel, "shown"]);
    if (ramdisk !== undefined) rows.push([`${vm}/image/ramdisk`, ramdisk, "shown"]);
    if (cmdline !== "") rows.push([`${vm}/image/cmdline`, cmdline, "shown"]);
  }
  if (facts.startTime !== undefined) rows.push([`${vm}/start_time`, facts.startTime.toFixed(2), "shown"]);
  return rows;
}

/** What is there before any domain is. */
export function writeHostNodes(store: LocalView): void {
  const nodes: readonly (readonly [string, string])[] = [
    ["/tool/xenstored", ""],
    ["/local/domain/0/domid", "0"],
    ["/local/domain/0/name", "Domain-0"],
    ["/local/domain/0/backend/console", ""],
    ["/local/pool/0/name", "Pool-0"],
    ["/vm", ""],
    ["/libxl", ""],
  ];
  for (const [path, value] of nodes) store.write(path, value);
}

export function writeDomainNodes(store: LocalView, facts: DomainFacts): void {
  const home = `/local/domain/${facts.domid}`;
  const backend = `/local/domain/0/backend/console/${facts.domid}/0`;
  store.remove(`/vm/${facts.uuid}`);
  for (const [path, value, rights] of [
    ...homeRows(facts, home, backend),
    ...consoleRows(facts, home, backend),
    ...vmRows(facts),
  ]) {
    store.write(path, value, permissionsOf(rights, facts.domid));
  }
}

export function writeRingNodes(
  store: LocalView,
  domid: number,
  rings: Pick<DomainFacts, "storePort" | "storeMfn" | "consolePort" | "consoleMfn">,
): void {
  for (const [path, value, rights] of ringRows(rings, `/local/domain/${domid}`)) {
    store.write(path, value, permissionsOf(rights, domid));
  }
}

/** Removes what a domain had, its back ends' nodes too. `keepVm`: another boot of it has its /vm nodes already. */
export function removeDomainNodes(store: LocalView, domid: number, uuid: string, keepVm: boolean): void {
  for (const type of store.list("/local/domain/0/backend") ?? []) {
    store.remove(`/local/domain/0/backend/${type}/${domid}`);
  }
  store.remove(`/local/domain/${domid}`);
  store.remove(`/libxl/${domid}`);
  if (!keepVm) store.remove(`/vm/${uuid}`);
}
